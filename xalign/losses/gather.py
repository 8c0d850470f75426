"""Vectors of all processes, through which gradients flow back to each."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from xalign.errors import ArgumentError


def gathered(vectors: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes in rank order, and the index of this process's first row.

    The gradients of every process's loss return to the process that made a row. A single process gets its own
    rows.

    Args:
        vectors: Rows of this process; every process must have the same number.

    Raises:
        ArgumentError: Processes with different numbers of rows.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return vectors, 0
    sizes: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(sizes, len(vectors))
    if len(set(sizes)) > 1:
        raise ArgumentError(
            f"gather needs the same number of pairs in every process; there are {sizes}: give every "
            "process the same batch_size"
        )
    if vectors.is_floating_point():
        rows = list(all_gather(vectors))  # type: ignore[no-untyped-call]
    else:
        rows = [torch.empty_like(vectors) for _ in sizes]
        dist.all_gather(rows, vectors)
    return torch.cat(rows), dist.get_rank() * len(vectors)
