"""A step of a datatrove pipeline without models."""

from pathlib import Path


def note(data, rank, world_size, *, folder):
    if rank == 1:
        raise ValueError("bad luck")
    (Path(folder) / f"rank-{rank}-of-{world_size}").touch()
