"""Models and work that are spread over processes: `Ranks`, and which ways of splitting a model are supported."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

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

    def shard(self, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """This process's items, and whether each is its own.

        All get as many: who has none left runs the last again, and does not count it. Sharded models need as
        many forwards in every process.

        Example:
            >>> list(Ranks().shard(["a", "b"]))
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

    def broadcast(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    @contextmanager
    def raise_everywhere(self) -> Iterator[None]:
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


def is_sharded(model: nn.Module) -> bool:
    """Whether blocks gather their weights before they run and let them go after: none may be left halfway."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def reshard(model: nn.Module) -> None:
    """Has FSDP2 let go of the weights that it keeps after a forward, for a backward that does not come.

    Until then `model.parameters()` are whole tensors, and an optimizer made of them would train nothing.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def refuse_split(model: nn.Module, *, learning: bool = False) -> None:
    """An error for what splits a model in a way in which a visit sees no states, or only parts of them.

    DDP and FSDP2 are no such ways.

    Args:
        model: The model, as it is called.
        learning: Whether it is to learn: then `nn.DataParallel` on one device is refused too.

    Raises:
        ModelError: `nn.DataParallel`, FSDP1, tensor parallelism or DeepSpeed ZeRO-3.
    """
    if isinstance(model, nn.DataParallel) and (learning or len(model.device_ids) > 1):
        raise ModelError(
            "nn.DataParallel copies the model for each forward, and what happens in the copies is not seen; "
            "start a process per GPU with torchrun (DDP), or show one GPU with CUDA_VISIBLE_DEVICES=0"
        )
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ModelError("FSDP1 is not supported; FSDP2 is: pass fsdp_version=2 in fsdp_config")
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise ModelError("DeepSpeed ZeRO-3 is not supported; use ZeRO-1 or 2, DDP, or FSDP2")
    if any((getattr(module, "tp_size", None) or 1) > 1 for module in model.modules()):
        raise ModelError(
            "tensor parallelism is not supported: each process holds only its part of the neurons; use DDP "
            "or FSDP2"
        )
