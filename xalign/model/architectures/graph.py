"""`Trace`: the operations and module calls of one forward, as a graph."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xalign.model.architectures.operations import CASTS, MOVES


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands in the arguments of an operation for the output of another."""

    node: int


@dataclass(frozen=True, slots=True)
class Blank:
    """Stands in the arguments of an operation for a tensor of which only shape and data type matter."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class Projection:
    """A product with weights.

    Attributes:
        path: The module that computes it; empty where a function does, so that nothing can be hooked.
        width_in: Size of the states that it takes.
        width_out: Size of the states that it gives.
        dim: The dimension of states that holds the width: the last one, or 1 for convolutions.
    """

    path: str
    width_in: int
    width_out: int
    dim: int = -1


@dataclass(slots=True)
class Call:
    """One call of a module.

    Attributes:
        module: The module.
        path: Its path, seen from the model that was traced.
        parent: The call within which it was called.
        start: Number of operations before it began.
        end: Number of operations when it had returned.
        given: The tensors that it was given.
        input: The first of them, which a site would read; None where it was given no tensor.
        output: The states that it returned; None where it returned none.
        returns_states: Whether these are the states of a whole model, by the name `last_hidden_state`.
    """

    module: nn.Module
    path: str
    parent: "Call | None"
    start: int
    end: int = -1
    given: tuple[int, ...] = ()
    input: int | None = None
    output: int | None = None
    returns_states: bool = False

    def encloses(self, node: int) -> bool:
        """Return whether an operation ran within this call."""
        return self.start <= node < self.end

    def contains(self, other: "Call") -> bool:
        """Return whether another call ran within this one."""
        return other is not self and self.start <= other.start and other.end <= self.end


@dataclass(slots=True)
class Node:
    """One operation, or a tensor that none of those seen has made.

    Attributes:
        index: Its place in the order of the forward.
        operation: What it does: a name of torch, or `projection`, `norm` or `experts` for a whole module,
            `weight` for a parameter or buffer, `given` for other tensors that come from outside.
        function: What computed it; None for whole modules and tensors from outside.
        args: Its positional arguments, with `Ref` and `Blank` in place of tensors.
        kwargs: Its named arguments, likewise.
        inputs: The operations whose outputs it takes.
        shape: Of its output; empty where this is no single tensor.
        dtype: Its data type; None where this is no single tensor.
        is_states: Whether the output is a floating-point tensor.
        depends: Whether it depends on what the model was given. Weights alone do not.
        call: The module call in which it ran.
        projection: What it projects, if it does.
        in_place: Whether it writes into its first argument.
        constant: The value of a tensor from outside that does not depend on what the model was given.
    """

    index: int
    operation: str
    function: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    shape: torch.Size = torch.Size()
    dtype: torch.dtype | None = None
    is_states: bool = False
    depends: bool = False
    call: Call | None = None
    projection: Projection | None = None
    in_place: bool = False
    constant: Tensor | None = None


class Trace:
    """The graph of one forward.

    Attributes:
        model: The model that ran; paths start at it.
        nodes: The operations, in order.
        calls: The module calls, in the order in which they returned.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.nodes: list[Node] = []
        self.calls: list[Call] = []
        self._returning: dict[int, list[Call]] = defaultdict(list)
        self._calls_of: dict[str, list[Call]] = defaultdict(list)

    def add_call(self, call: Call) -> None:
        """Add a call that has returned."""
        self.calls.append(call)
        self._calls_of[call.path].append(call)
        if call.output is not None:
            self._returning[call.output].append(call)

    def calls_of(self, path: str, within: Call | None = None) -> list[Call]:
        """Return the calls of a module, or those within another call."""
        found = self._calls_of.get(path, [])
        return found if within is None else [one for one in found if within.contains(one)]

    def returning(self, node: int) -> list[Call]:
        """Return the calls that returned a tensor as their states, in the order in which they returned."""
        return self._returning.get(node, [])

    def data_inputs(self, node: Node) -> list[int]:
        """Return the inputs of an operation that depend on what the model was given."""
        return [index for index in node.inputs if self.nodes[index].depends]

    def before_moves(self, index: int) -> int:
        """Walk back over operations that only move or cast values, to the one that computed them."""
        node = self.nodes[index]
        while node.operation in MOVES | CASTS and node.projection is None:
            inputs = self.data_inputs(node)
            if len(inputs) != 1:
                break
            node = self.nodes[inputs[0]]
        return node.index

    def where(self, node: Node) -> str:
        """Say which operation this is, for errors."""
        place = node.call.path if node.call is not None and node.call.path else "the model"
        return f"{node.operation} in {place}"

    def projection(self, index: int) -> Projection:
        """Return what a node projects, which must be a projection."""
        projection = self.nodes[index].projection
        if projection is None:
            raise LookupError(f"node {index} is no projection")
        return projection
