"""`Program`: a part of a trace that can be run again on other values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from xalign.model.architectures.graph import Blank, Node, Ref, Trace
from xalign.model.architectures.operations import CASTS

Weights = Callable[[str], Tensor]
Modules = Callable[[str, Tensor], Tensor]


class NotReplayable(Exception):  # noqa: N818
    """A part of a trace that cannot be run again, with the reason."""


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation without the module that ran it: a program keeps no model alive."""

    index: int
    operation: str
    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    in_place: bool
    path: str
    depends: bool

    @classmethod
    def of(cls, node: Node) -> "_Step":
        path = "" if node.call is None else node.call.path
        return cls(
            node.index,
            node.operation,
            node.function,
            node.args,
            node.kwargs,
            node.inputs,
            node.in_place,
            path,
            node.depends,
        )


def no_modules(path: str, states: Tensor) -> Tensor:  # noqa: ARG001
    """Refuse to stand for a module."""
    raise NotReplayable(f"{path} would have to be called")


class Program:
    """The operations between some values of a trace and another value.

    It holds functions of torch, numbers and the paths of weights, and no tensor of the model.

    Args:
        trace: The trace.
        inputs: The operations whose outputs are given when the program runs.
        output: The operation whose output it computes.

    Raises:
        NotReplayable: The output depends on something else that the model was given.
    """

    def __init__(self, trace: Trace, inputs: Sequence[int], output: int) -> None:
        self._inputs, self._output = tuple(inputs), output
        self._given = tuple((trace.nodes[index].shape, trace.nodes[index].dtype) for index in inputs)
        needed = _between(trace, set(inputs), output)
        self._steps = tuple(_Step.of(trace.nodes[index]) for index in sorted(needed))

    @property
    def operations(self) -> tuple[str, ...]:
        """What the program does, without what it does to weights alone."""
        return tuple(step.operation for step in self._steps if step.depends)

    @property
    def norms(self) -> tuple[str, ...]:
        """The paths of the norms that it needs."""
        return tuple(step.path for step in self._steps if step.operation == "norm")

    def __call__(
        self,
        *values: Tensor,
        weights: Weights,
        modules: Modules = no_modules,
        casts: bool = True,
    ) -> Tensor:
        """Run the operations.

        Args:
            values: In place of the outputs of `inputs`, in their order. As many values in another shape are
                reshaped.
            weights: Path -> parameter or buffer.
            modules: (path of a norm, what it is given) -> what it gives.
            casts: Whether values are cast to other data types, as in the trace.

        Raises:
            NotReplayable: An operation that does not run on these values.
        """
        given = zip(values, self._given, strict=True)
        fitting = (_fitting(value, shape, dtype if casts else None) for value, (shape, dtype) in given)
        found: dict[int, Any] = dict(zip(self._inputs, fitting, strict=True))
        for step in self._steps:
            if step.index in found:
                continue
            try:
                found[step.index] = _run(step, found, weights, modules, casts)
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise NotReplayable(f"{step.operation} cannot be run again: {error!s:.120}") from error
        result = found[self._output]
        if not isinstance(result, Tensor):
            raise NotReplayable("the output is no tensor")
        return result


def _fitting(value: Tensor, shape: torch.Size, dtype: torch.dtype | None) -> Tensor:
    if value.shape != shape and value.numel() == shape.numel():
        value = value.reshape(shape)
    return value if dtype is None else value.to(dtype)


def _between(trace: Trace, inputs: set[int], output: int) -> set[int]:
    """Return the operations that an output needs beyond the inputs."""
    needed: set[int] = set()
    waiting = [output]
    while waiting:
        index = waiting.pop()
        if index in needed or index in inputs:
            continue
        needed.add(index)
        node = trace.nodes[index]
        if node.operation == "given":
            raise NotReplayable(f"it also depends on a tensor that {trace.where(node)} was given")
        if node.operation in ("projection", "experts"):
            raise NotReplayable(f"it also depends on what {node.call.path if node.call else 'it'} gives")
        waiting += node.inputs
    return needed


def _run(step: _Step, found: dict[int, Any], weights: Weights, modules: Modules, casts: bool) -> Any:
    if step.operation == "weight":
        if step.args[0] is None:
            raise NotReplayable("it needs a weight that the model does not name (sharded or offloaded)")
        return weights(step.args[0])
    if step.operation == "norm":
        return modules(step.path, found[step.inputs[0]])
    if step.operation == "part":
        parts = [one for one in tree_leaves(found[step.inputs[0]]) if isinstance(one, Tensor)]
        return parts[step.args[1]]
    if step.operation in CASTS and not casts:
        return found[step.inputs[0]]
    if step.function is None:
        raise NotReplayable(f"{step.operation} is not seen from inside")

    def value(one: Any) -> Any:
        if isinstance(one, Ref):
            return found[one.node]
        return torch.zeros(one.shape, dtype=one.dtype, device=one.device) if isinstance(one, Blank) else one

    args, kwargs = tree_map(value, (step.args, step.kwargs))
    if step.in_place:
        args = (args[0].clone(), *args[1:])
    result = step.function(*args, **kwargs)
    return args[0] if result is None else result
