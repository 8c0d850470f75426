"""Several processes: `Ranks`, which share work, and which ways of splitting a model are supported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xalign.errors import ArgumentError, ModelError

T = TypeVar("T")
# Marks on errors: all processes know of it, or the others cannot be told.
_TOLD, _ALONE = "_xalign_told", "_xalign_alone"


class Ranks:
    """The processes that share a measurement, or this process alone.

    Items of work are never split. Each process runs some of the items that a single process would run, and
    the results are equal to the bit.

    Args:
        shared: Whether all processes of `torch.distributed` take part. Where it is not initialized, there is
            only this one.

    Attributes:
        count: Number of processes.
        index: Rank of this process, from 0.
    """

    def __init__(self, shared: bool = False) -> None:
        several = shared and dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size() if several else 1
        self.index = dist.get_rank() if several else 0

    def shard(self, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """Yield the items that this process runs, each with whether its result counts.

        Every process gets the same number of items, because sharded models need the same number of forwards
        in every process. A process with no item left gets the last one again, which then does not count.

        Example:
            >>> list(Ranks().shard(["a", "b"]))
            [('a', True), ('b', True)]
        """
        for first in range(0, len(items), self.count):
            place = first + self.index
            yield items[min(place, len(items) - 1)], place < len(items)

    def all_reduce(self, values: Tensor, device: torch.device) -> Tensor:
        """Sum a tensor over all processes.

        The sum is exact where at most one process has a value other than 0.

        Args:
            values: This process's tensor.
            device: The device of the process group's backend: the GPU for NCCL.

        Returns:
            The sum, on the device of `values`.
        """
        if self.count == 1:
            return values
        moved = values.to(device)
        dist.all_reduce(moved)
        return moved.to(values.device)

    def broadcast(self, value: T) -> T:
        """Return the first process's value in every process."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def refuse_differences(self, facts: Mapping[str, object]) -> None:
        """Compare facts with those of the other processes, which all call this.

        Args:
            facts: Name -> what must be the same in all of them, as plain values.

        Raises:
            ArgumentError: In every process, where one of them was given something else.
        """
        if self.count == 1:
            return
        found: list[dict[str, object]] = [{} for _ in range(self.count)]
        dist.all_gather_object(found, dict(facts))
        for name, first in found[0].items():
            for index, other in enumerate(found):
                if other.get(name) != first:
                    raise _told(
                        ArgumentError(
                            f"{name} differs between processes: {first!r:.200} in process 0 and "
                            f"{other.get(name)!r:.200} in process {index}; give all of them the same"
                        )
                    )

    @contextmanager
    def raise_everywhere(self) -> Iterator[None]:
        """Raise an error of one process in all of them at the end of the block, so that none waits forever.

        Blocks may stand inside each other. An error that the others were told of in an inner block passes
        through the outer ones. A process that fails in an outer block meets the others in their next inner
        one, so long as no other exchange lies between.

        Raises:
            ModelError: Another process failed; the message holds that process's message.
        """
        if self.count == 1:
            yield
            return
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            if hasattr(error, _TOLD) or hasattr(error, _ALONE):
                raise
            own = error
        messages: list[str | None] = [None] * self.count
        dist.all_gather_object(messages, None if own is None else f"{type(own).__name__}: {own}")
        if own is not None:
            raise _told(own)
        for index, message in enumerate(messages):
            if message is not None:
                raise _told(ModelError(f"process {index} of {self.count} failed: {message}"))

    @contextmanager
    def raise_alone(self) -> Iterator[None]:
        """Mark an error in the block as one that the other processes cannot be told of; see `is_alone`.

        Within a sharded forward the others wait for this process's weights.
        """
        try:
            yield
        except Exception as error:
            if self.count > 1:
                setattr(error, _ALONE, True)
            raise


def is_alone(error: Exception) -> bool:
    """Return whether the other processes wait and cannot be told of an error: it must end this process."""
    return hasattr(error, _ALONE)


def _told(error: Exception) -> Exception:
    setattr(error, _TOLD, True)
    return error


def is_sharded(model: nn.Module) -> bool:
    """Return whether weights are sharded (FSDP2), so that no forward may be left before its end.

    Each block gathers its weights before it runs and frees them afterwards, in all processes together.
    """
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def sharded_modules(model: nn.Module) -> set[nn.Module]:
    """Return the modules whose weights FSDP2 exchanges, in a forward, for gathered ones."""
    from torch.distributed.fsdp import FSDPModule

    found: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, FSDPModule) and module not in found:
            found.update(module.modules())
    return found


def reshard(model: nn.Module) -> None:
    """Free the gathered weights that FSDP2 keeps after a forward for a backward.

    After a forward without backward, `model.parameters()` would stay whole tensors, and an optimizer made of
    them would train nothing.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def refuse_split(model: nn.Module, *, learning: bool = False) -> None:
    """Raise an error where a model is split so that a visit would see no states, or only parts of them.

    DDP and FSDP2 are supported.

    Args:
        model: The model, as it is called.
        learning: Whether the model is about to be trained. Then `nn.DataParallel` on one device is refused
            too.

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
