"""The vectors of all processes, with the gradient that each of them gives back."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from xalign.errors import ArgumentError


def gathered(vectors: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes in the order of their ranks, and the place of this process's first row.

    The gradient of every process's loss comes back to the process that made a row. One process alone gets its
    own rows.

    Args:
        vectors: Rows of this process; as many in each.

    Raises:
        ArgumentError: Processes with different numbers of rows.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return vectors, 0
    sizes: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(sizes, len(vectors))
    if len(set(sizes)) > 1:
        raise ArgumentError(f"gather needs as many pairs in every process; there are {sizes}")
    if vectors.is_floating_point():
        rows = list(all_gather(vectors))  # type: ignore[no-untyped-call]
    else:
        rows = [torch.empty_like(vectors) for _ in sizes]
        dist.all_gather(rows, vectors)
    return torch.cat(rows), dist.get_rank() * len(vectors)
