"""`Head`: some columns of what a projection gives, as the neurons see them."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from xalign.model.architectures.graph import Node, Trace
from xalign.model.architectures.operations import CASTS, MOVES
from xalign.model.architectures.program import NotReplayable, Program, Weights


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Columns of a projection that are computed with as one.

    Attributes:
        source: The projection.
        node: The operation that gives these columns.
        columns: Which they are, in the order of the neurons; None where they are all.
    """

    source: int
    node: int
    columns: slice | None


def heads_of(trace: Trace, sources: Iterable[int], path: set[int], dim: int, weights: Weights) -> list[Head]:
    """Return the columns of some projections that the operations on a path compute with.

    Operations that only move values are followed, and tried on the numbers of columns and of tokens: they
    show which columns come out, and that the tokens are still in their places.

    Args:
        trace: The trace.
        sources: The projections.
        path: The operations that are between them and the neurons.
        dim: The dimension of the neurons that holds the width.
        weights: Path -> parameter or buffer.

    Raises:
        NotReplayable: Columns that are no slice, or tokens that are not in their places.
    """
    found: dict[tuple[int, str], Head] = {}
    for source in sources:
        for node in _ends(trace, source, path):
            columns = _columns(trace, source, node, dim, weights)
            known = found.get((source, str(columns)))
            if known is None or node < known.node:
                found[(source, str(columns))] = Head(source, node, columns)
    return list(found.values())


def check_tokens_stay(
    trace: Trace, source: int, path: set[int], end: int, dim: int, weights: Weights
) -> None:
    """Check that the tokens of a projection are still in their places where its output is added up.

    Args:
        trace: The trace.
        source: The projection.
        path: The operations between it and the sum.
        end: The last of them.
        dim: The dimension of the sum that holds the width.
        weights: Path -> parameter or buffer.

    Raises:
        NotReplayable: They are not.
    """
    for node in {*_ends(trace, source, path), *({end} & _moved(trace, source, path))}:
        if _columns(trace, source, node, dim, weights) is not None:
            raise NotReplayable(f"only some columns of {trace.projection(source).path} are added")


def _moved(trace: Trace, source: int, path: set[int]) -> set[int]:
    """Return the operations on a path that only move values of a projection."""
    moved = {source}
    for index in sorted(path):
        node = trace.nodes[index]
        if node.operation in MOVES | CASTS and set(trace.data_inputs(node)) & moved:
            moved.add(index)
    return moved


def _ends(trace: Trace, source: int, path: set[int]) -> list[int]:
    """Return where values of a projection are that have only been moved so far, and are now computed with."""
    moved = _moved(trace, source, path)
    users = {one for index in path - moved for one in trace.nodes[index].inputs}
    return sorted(index for index in moved if index in users and trace.nodes[index].is_states)


def _columns(trace: Trace, source: int, node: int, dim: int, weights: Weights) -> slice | None:
    """Return which columns of a projection a node holds; its own width is in the dimension `dim`."""
    projected, head = trace.nodes[source], trace.nodes[node]
    given_dim = trace.projection(source).dim
    columns, tokens = _numbers(projected, given_dim)
    program = Program(trace, [source], node)
    columns, tokens = (
        _rows(program(numbers, weights=weights, casts=False), dim) for numbers in (columns, tokens)
    )
    if not columns.numel() or not bool((columns == columns[:1]).all()):
        raise NotReplayable(f"the coordinates at {trace.where(head)} are no columns of a projection")
    if not torch.equal(tokens[:, 0], torch.arange(len(tokens))) or not bool((tokens == tokens[:, :1]).all()):
        raise NotReplayable(f"tokens are moved by {trace.where(head)}")
    return _as_slice(columns[0].tolist(), projected.shape[given_dim])


def _numbers(projected: Node, dim: int) -> tuple[Tensor, Tensor]:
    """Return the number of its column, and that of its token, at each place of what a projection gives."""
    width = projected.shape[dim]
    lead = torch.empty(projected.shape).movedim(dim, -1).shape[:-1]
    columns = torch.arange(width).expand(*lead, width)
    tokens = torch.arange(lead.numel()).reshape(*lead, 1).expand(*lead, width)
    return columns.movedim(-1, dim).contiguous(), tokens.movedim(-1, dim).contiguous()


def _rows(values: Tensor, dim: int) -> Tensor:
    moved = values.movedim(dim, -1)
    return moved.reshape(-1, moved.shape[-1])


def _as_slice(columns: list[int], width: int) -> slice | None:
    """Return the slice that takes some columns; None for all of them."""
    if columns == list(range(width)):
        return None
    step = columns[1] - columns[0] if len(columns) > 1 else 1
    if step < 1:
        raise NotReplayable(f"the columns {columns[:4]}… of a projection are no slice")
    stop = columns[-1] + step
    found = slice(columns[0], stop if stop < width else None, None if step == 1 else step)
    if columns != list(range(width))[found]:
        raise NotReplayable(f"the columns {columns[:4]}… of a projection are no slice")
    return found
