"""`Ranks`: the processes that share a measurement."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from xalign.errors import ModelError

T = TypeVar("T")


class Ranks:
    """The processes that share a measurement, or this one alone.

    Work is dealt out whole, so that what each process runs is what one alone would run, and results are equal
    to the bit.

    Args:
        shared: Whether all processes of `torch.distributed` take part; one alone where it is not initialized.

    Attributes:
        count: How many processes there are.
        index: Which of them this is, from 0.
    """

    def __init__(self, shared: bool = False) -> None:
        several = shared and dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size() if several else 1
        self.index = dist.get_rank() if several else 0

    def deal(self, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """This process's items, and whether each is its own.

        All get as many: who has none left runs the last again, and does not count it. Sharded models need as
        many forwards in every process.

        Example:
            >>> list(Ranks().deal(["a", "b"]))
            [('a', True), ('b', True)]
        """
        for first in range(0, len(items), self.count):
            place = first + self.index
            yield items[min(place, len(items) - 1)], place < len(items)

    def summed(self, values: Tensor, device: torch.device) -> Tensor:
        """The sum over all processes, through the device that they talk through; exact where one is not 0."""
        if self.count == 1:
            return values
        moved = values.to(device)
        dist.all_reduce(moved)
        return moved.to(values.device)

    def from_first(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """An error in one process is an error in all, at the end of the block; no process waits for another.

        Raises:
            ModelError: Another process failed; its message is in this one's.
        """
        if self.count == 1:
            yield
            return
        mine: Exception | None = None
        try:
            yield
        except Exception as error:
            mine = error
        said: list[str | None] = [None] * self.count
        dist.all_gather_object(said, None if mine is None else f"{type(mine).__name__}: {mine}")
        if mine is not None:
            raise mine
        for index, message in enumerate(said):
            if message is not None:
                raise ModelError(f"process {index} of {self.count} failed: {message}")
