"""Whether what is added to a stream is computed from each token alone, found out with numbers.

Each operation is run on random numbers. An operation acts on each token alone if every value that it gives
depends on one token, and in the end on the token whose row it stands in. The names of operations do not
matter, nor how they lay out the tokens.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from xalign.model.architectures.axes import axes_of, from_tokens
from xalign.model.architectures.graph import Blank, Call, Node, Ref, Trace
from xalign.model.architectures.operations import CASTS
from xalign.model.architectures.program import NotReplayable, Program, Weights
from xalign.model.architectures.state_size import StateSize

_NONE = -1  # the label of a value that depends on no token
_DRAWS = 8  # a relu shows nothing of values that are negative twice
_ROUNDING = 1e-9  # of values in float64
_LONGEST = 300  # operations


class Mixes(Exception):  # noqa: N818
    """An operation that computes with several tokens at once, or moves tokens."""


def acts_per_token(
    trace: Trace, block: Call, states: Iterable[int], end: int, weights: Weights, size: StateSize
) -> bool:
    """Return whether a value is computed from each token's own states alone.

    Args:
        trace: The trace.
        block: The call of the block. What comes from outside of it is taken to hold one row per token, where
            it has the shape of that.
        states: Operations in the block whose outputs hold one row per token.
        end: The operation that gives the value.
        weights: Path -> parameter or buffer, in float64.
        size: How many sentences and tokens there are.

    Raises:
        NotReplayable: It cannot be told.
    """
    labels: dict[int, Tensor | NotReplayable] = {}
    rows = set(states)
    for index in _between(trace, block, rows, end):
        node = trace.nodes[index]
        try:
            if index in rows or not block.encloses(index):
                labels[index] = _of_rows(trace, node, size)
            else:
                labels[index] = _labels(trace, node, labels, weights, size)
        except NotReplayable as reason:
            labels[index] = reason  # what comes after it may still be seen to mix tokens
        except Mixes:
            return False
    found = labels[end]
    if isinstance(found, NotReplayable):
        raise found
    expected = _of_rows(trace, trace.nodes[end], size)
    return bool(((found == expected) | (found == _NONE)).all())


def _between(trace: Trace, block: Call, states: set[int], end: int) -> list[int]:
    """Return the operations from some states to a value that depend on what the model was given."""
    found, waiting = set[int](), [end]
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        found.add(index)
        if index not in states and block.encloses(index):
            waiting += trace.data_inputs(trace.nodes[index])
    if len(found) > _LONGEST:
        raise NotReplayable("too many operations stand before it")
    return sorted(found)


def _of_rows(trace: Trace, node: Node, size: StateSize) -> Tensor:
    """Return the labels of states that hold one row per token: the number of the token of each value."""
    axes = axes_of(node.shape, size.dim, size.lines, size.tokens)
    if axes is None or not node.is_states:
        raise NotReplayable(f"what {trace.where(node)} gives does not hold one row per token")
    numbers = torch.arange(size.lines * size.tokens).reshape(size.lines, size.tokens, 1)
    width = node.shape[1 if size.dim == 1 else -1]
    return from_tokens(numbers.expand(-1, -1, width), axes, node.shape).contiguous()


def _labels(
    trace: Trace,
    node: Node,
    known: Mapping[int, Tensor | NotReplayable],
    weights: Weights,
    size: StateSize,
) -> Tensor:
    """Return which token each value that an operation gives depends on.

    Raises:
        Mixes: A value depends on several.
        NotReplayable: It cannot be told.
    """
    run, part = (node, None) if node.operation != "part" else (trace.nodes[node.inputs[0]], node.args[1])
    given: dict[int, Tensor] = {}
    for index in trace.data_inputs(run):
        found = known[index]
        if isinstance(found, NotReplayable):
            raise found
        given[index] = found
    if not given:
        raise NotReplayable(f"{trace.where(node)} is not computed from what the model was given")
    if node.operation in ("projection", "norm"):
        dim = -1 if node.projection is None else node.projection.dim
        return _one_per_row(next(iter(given.values())), dim).expand(node.shape)
    if node.operation in CASTS or node.operation == "dropout":
        return next(iter(given.values())).reshape(node.shape)
    if run.function is None or not node.is_states:
        raise NotReplayable(f"{trace.where(node)} is not seen from inside")
    held = {
        index: Program(trace, [], index)(weights=weights, casts=False)
        for index in run.inputs
        if index not in given
    }
    return _Probe(run, part, given, held, size.lines * size.tokens).labels()


def _one_per_row(labels: Tensor, dim: int) -> Tensor:
    """Return the label that all values along a dimension have."""
    highest = labels.amax(dim, keepdim=True)
    if not bool(((labels == highest) | (labels == _NONE)).all()):
        raise Mixes
    return highest


class _Probe:
    """One operation, run on two draws of numbers and on mixtures of these by tokens.

    Args:
        node: The operation.
        part: Which of the tensors that it gives; None where it gives one.
        given: The labels of its inputs that depend on tokens.
        held: The values of its other inputs.
        n: Number of tokens.
    """

    def __init__(
        self, node: Node, part: int | None, given: dict[int, Tensor], held: dict[int, Tensor], n: int
    ) -> None:
        self._node, self._part, self._given, self._held, self._n = node, part, given, held, n
        self._draw = torch.Generator().manual_seed(0)

    def labels(self) -> Tensor:
        bits = max(1, (self._n - 1).bit_length())
        found = None
        for _ in range(_DRAWS):
            one, other = self._ends()
            sides = self._run(one), self._run(other)
            if not bool(_same(self._run(one), sides[0]).all()):
                raise NotReplayable(f"{self._node.operation} gives other values each time")
            differ = ~_same(*sides)
            label = torch.zeros(sides[0].shape, dtype=torch.long)
            for bit in range(bits):
                colours = (torch.arange(self._n) >> bit) & 1
                label += self._sides_of(one, other, colours.bool(), sides, differ).long() << bit
            label = torch.where(differ, label, _NONE)
            found = label if found is None else torch.where(found == _NONE, label, found)
            self._verify(one, other, sides, differ, label)
            if bool((found != _NONE).all()):
                break
        if found is None:
            raise NotReplayable("nothing was drawn")
        return found

    def _verify(
        self,
        one: dict[int, Tensor],
        other: dict[int, Tensor],
        sides: tuple[Tensor, Tensor],
        differ: Tensor,
        label: Tensor,
    ) -> None:
        """Check labels by a mixture that they did not come from."""
        colours = torch.rand(self._n, generator=self._draw) < 0.5  # noqa: PLR2004
        found = self._sides_of(one, other, colours, sides, differ)
        if not bool((found == colours[label.clamp_min(0)])[differ].all()):
            raise Mixes

    def _sides_of(
        self,
        one: dict[int, Tensor],
        other: dict[int, Tensor],
        colours: Tensor,
        sides: tuple[Tensor, Tensor],
        differ: Tensor,
    ) -> Tensor:
        """Return which of the two draws each value comes from, in a mixture of them by tokens."""
        mixed = {
            index: torch.where(colours[labels.clamp_min(0)] & (labels != _NONE), other[index], one[index])
            for index, labels in self._given.items()
        }
        found = self._run(mixed)
        of_one, of_other = _same(found, sides[0]), _same(found, sides[1])
        if not bool((of_one | of_other).all()):
            raise Mixes
        return of_other & differ

    def _ends(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        one, other = (
            {
                index: torch.randn(labels.shape, dtype=torch.float64, generator=self._draw) * 1.5
                for index, labels in self._given.items()
            }
            for _ in range(2)
        )
        return one, {
            index: torch.where(labels == _NONE, one[index], other[index])
            for index, labels in self._given.items()
        }

    def _run(self, values: dict[int, Tensor]) -> Tensor:
        found = self._held | values

        def value(arg: Any) -> Any:
            if isinstance(arg, Ref):
                return found[arg.node]
            return torch.zeros(arg.shape, dtype=torch.float64) if isinstance(arg, Blank) else arg

        args, kwargs = tree_map(value, (self._node.args, self._node.kwargs))
        if self._node.in_place:
            args = (args[0].clone(), *args[1:])
        try:
            result = self._node.function(*args, **kwargs)  # type: ignore[misc]
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise NotReplayable(f"{self._node.operation} cannot be run again: {error!s:.120}") from error
        result = args[0] if result is None else result
        if self._part is not None:
            result = [one for one in tree_leaves(result) if isinstance(one, Tensor)][self._part]
        if not isinstance(result, Tensor):
            raise NotReplayable(f"{self._node.operation} does not give one tensor")
        return result


def _same(one: Tensor, other: Tensor) -> Tensor:
    return torch.isclose(one, other, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True)
