"""`LiveMemory`: count the bytes of the tensors that are alive at one time while something runs."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of tensors that are made inside the `with`, on one device.

    What an operation takes inside itself and gives back before it ends is not seen.

    Args:
        device: The device to count on.

    Attributes:
        peak: The most bytes at one time.

    Example:
        >>> with LiveMemory(torch.device("cpu")) as memory:
        ...     for _ in range(3):
        ...         _ = torch.zeros(2, 256) + 1
        >>> memory.peak  # two tensors of 2,048 bytes are alive while one is computed of the other
        4096
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._device, self._live, self._known = device, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        given = {_storage(one)._cdata for one in tree_leaves((args, kwargs)) if _is_plain(one)}
        results = func(*args, **(kwargs or {}))
        for one in tree_leaves(results):
            if _is_plain(one) and one.device.type == self._device.type:
                self._note(_storage(one), given)
        return results

    def _note(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        """Count a storage that an operation made, until it is freed."""
        key: int = storage._cdata
        if key in given or key in self._known:  # a view, or a result in place
            return
        self._known.add(key)
        self._live += storage.nbytes()
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def _is_plain(value: Any) -> bool:
    """Return whether a value is a tensor with memory of its own kind."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
