"""The definition of a feed-forward network, tested on a trace.

A projection is the *down projection* of a network if each coordinate of its input is computed from the same
coordinate of other projections, with an activation function on the way. That input holds the *neurons*. The
projection in which the neurons are not linear is the *gate*; the others, if any, are *up*.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xalign.model.architectures.elementwise import is_straight_in, works_on_each_coordinate
from xalign.model.architectures.graph import Call, Trace
from xalign.model.architectures.heads import Head, heads_of
from xalign.model.architectures.operations import CASTS, MOVES, NORMS
from xalign.model.architectures.program import NotReplayable, Program, Weights
from xalign.model.architectures.stream import is_mixer

_LONGEST_PATH = 300  # operations between the projections and the neurons; real networks have about ten


class NoNetwork(Exception):  # noqa: N818
    """Why a projection is not the down projection of a feed-forward network.

    Args:
        reason: Why.
        of_several: Whether its input is computed from several tokens, as that of attention is.
    """

    def __init__(self, reason: str, of_several: bool = False) -> None:
        super().__init__(reason)
        self.of_several = of_several


@dataclass(frozen=True, slots=True)
class Network:
    """A feed-forward network, by the operations of a trace.

    Attributes:
        down: The down projection.
        inner: The operation that gives its input, the neurons.
        product: The neurons before a norm, where one stands in front of the down projection; else `inner`.
        heads: The columns of projections that the neurons are computed from.
        gate: That of them which the activation function acts on; None where this is not one alone.
        activated: The operation that gives the activated gate; None where it is not seen.
        no_gate: Why there is no gate.
    """

    down: int
    inner: int
    product: int
    heads: tuple[Head, ...]
    gate: Head | None
    activated: int | None
    no_gate: str = ""

    @property
    def ups(self) -> tuple[Head, ...]:
        """The heads beside the gate."""
        return tuple(head for head in self.heads if head is not self.gate)


def network_of(trace: Trace, down: int, block: Call, weights: Weights) -> Network:
    """Return the feed-forward network that a projection of a block is the down projection of.

    Args:
        trace: The trace.
        down: The projection.
        block: The block; the network must lie within it.
        weights: Path -> parameter or buffer, in float64.

    Raises:
        NoNetwork: It is none, with the reason.
    """
    inner = trace.nodes[down].inputs[0]
    product = _before_norm(trace, inner)
    sources, path = _sources(trace, product, block)
    if not sources or product in sources:
        raise NoNetwork("no activation function stands before it")
    try:
        heads = heads_of(trace, sources, path, _dim(trace, down), weights)
        neurons = _Neurons(trace, down, product, heads, weights)
        if not neurons.are_computed_one_by_one():
            raise NoNetwork(f"{_names(trace, path)} mixes tokens or neurons")
        bent = [head for head in heads if not neurons.are_straight_in(head)]
    except NotReplayable as reason:
        raise NoNetwork(str(reason)) from None
    if not bent:
        raise NoNetwork("no activation function stands before it")
    if len(bent) > 1:
        paths = " and ".join(_path(trace, head) for head in bent)
        no_gate = f"the activation function acts on {paths}, so that neither alone is the gate"
        return Network(down, inner, product, tuple(heads), None, None, no_gate)
    activated = _activated(trace, path, heads, bent[0])
    return Network(down, inner, product, tuple(heads), bent[0], activated)


def _before_norm(trace: Trace, inner: int) -> int:
    """Return the neurons before a norm over all of them, if one stands in front of the down projection."""
    below = trace.nodes[trace.before_moves(inner)]
    if below.operation == "norm" or below.operation in NORMS:
        return below.inputs[0]
    return inner


def _sources(trace: Trace, product: int, block: Call) -> tuple[list[int], set[int]]:
    """Walk back from neurons to the projections they come from. Return these, and the operations between."""
    sources: set[int] = set()
    path: set[int] = set()
    waiting = [product]
    while waiting:
        index = waiting.pop()
        node = trace.nodes[index]
        if index in path or not node.depends:
            continue
        if not block.encloses(index):
            raise NoNetwork("its input is computed from the stream, and not from projections alone")
        if node.projection is not None:
            sources.add(index)
            continue
        if is_mixer(trace, node) or node.operation in ("experts", "given"):
            raise NoNetwork(f"{trace.where(node)} stands before it", of_several=is_mixer(trace, node))
        path.add(index)
        if len(path) > _LONGEST_PATH:
            raise NoNetwork("too many operations stand before it")
        waiting += trace.data_inputs(node)
    return sorted(sources), path


class _Neurons:
    """The neurons as a function of the heads, on numbers in float64."""

    def __init__(self, trace: Trace, down: int, product: int, heads: list[Head], weights: Weights) -> None:
        self._heads, self._weights = heads, weights
        self._sources = sorted({head.source for head in heads})
        self._shapes = {index: trace.nodes[index].shape for index in self._sources}
        self._dims = {index: _dim(trace, index) for index in self._sources}
        self._program, self._dim = Program(trace, self._sources, product), _dim(trace, down)
        shape = trace.nodes[product].shape
        self.width = shape[self._dim] if shape else 0
        self._rows = shape.numel() // max(self.width, 1)
        projection = trace.nodes[down].projection
        if projection is None or self.width != projection.width_in:
            raise NotReplayable("the neurons have another width than the down projection takes")
        for head in heads:
            taken = range(self._shapes[head.source][self._dims[head.source]])[head.columns or slice(None)]
            rows = self._shapes[head.source].numel() // self._shapes[head.source][self._dims[head.source]]
            if len(taken) != self.width or rows != self._rows:
                raise NotReplayable(f"{_path(trace, head)} gives another number of values or tokens")

    def __call__(self, values: dict[Head, Tensor]) -> Tensor:
        whole = []
        for source in self._sources:
            dim, shape = self._dims[source], self._shapes[source]
            rows = torch.zeros(self._rows, shape[dim], dtype=torch.float64)
            for head, given in values.items():
                if head.source == source:
                    rows[:, head.columns or slice(None)] = given
            lead = torch.empty(shape, device="meta").movedim(dim, -1).shape
            whole.append(rows.reshape(lead).movedim(-1, dim))
        found = self._program(*whole, weights=self._weights, casts=False).movedim(self._dim, -1)
        return found.reshape(-1, found.shape[-1])

    def are_computed_one_by_one(self) -> bool:
        return works_on_each_coordinate(self, self._rows, self.width, dict.fromkeys(self._heads))

    def are_straight_in(self, head: Head) -> bool:
        return is_straight_in(self, head, self._rows, self.width, dict.fromkeys(self._heads))


def _activated(trace: Trace, path: set[int], heads: list[Head], gate: Head) -> int | None:
    """Return the last operation that computes with the gate alone."""
    of_heads: dict[int, set[Head]] = {head.node: {head} for head in heads}
    for index in sorted(path):
        if index not in of_heads:
            inputs = trace.data_inputs(trace.nodes[index])
            of_heads[index] = set().union(*(of_heads.get(one, set()) for one in inputs))
    alone = [
        index
        for index in path
        if of_heads[index] == {gate}
        and index != gate.node
        and trace.nodes[index].operation not in MOVES | CASTS
    ]
    return max(alone, default=None)


def _dim(trace: Trace, index: int) -> int:
    projection = trace.nodes[index].projection
    return -1 if projection is None else projection.dim


def _path(trace: Trace, head: Head) -> str:
    projection = trace.nodes[head.source].projection
    return (projection.path if projection is not None else "") or trace.where(trace.nodes[head.source])


def _names(trace: Trace, path: set[int]) -> str:
    computed = {trace.nodes[index].operation for index in path} - MOVES - CASTS
    return ", ".join(sorted(computed)) or "a move"
