"""`on_cpu`: bring tensors to the CPU, waiting for their device once."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

K = TypeVar("K")


def on_cpu(values: Mapping[K, Tensor]) -> dict[K, Tensor]:
    """Return tensors as they are, on the CPU.

    Copies from a CUDA device go into memory that it can write by itself, all of them before the program waits
    for the first. Each `.cpu()` would wait, and copy through memory of the driver's.

    Args:
        values: Tensors, each on any device.

    Example:
        >>> on_cpu({"a": torch.ones(2)})
        {'a': tensor([1., 1.])}
    """
    found: dict[K, Tensor] = {}
    devices: set[torch.device] = set()
    for key, tensor in values.items():
        if tensor.device.type != "cuda":
            found[key] = tensor.cpu()
            continue
        found[key] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
        found[key].copy_(tensor, non_blocking=True)
        devices.add(tensor.device)
    for device in devices:
        torch.cuda.current_stream(device).synchronize()
    return found
