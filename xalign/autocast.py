"""`without_autocast`: what needs full precision also under autocast."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def without_autocast(device: str, fn: Callable[..., T], *args: Any) -> T:
    """Call a function outside autocast, whatever is on around it.

    `torch.autocast(enabled=False)` does the same, but an interrupt at the end of its `with` leaves it open.
    """
    enabled = torch.is_autocast_enabled(device)
    try:
        try:
            torch.set_autocast_enabled(device, False)
            return fn(*args)
        finally:
            torch.set_autocast_enabled(device, enabled)
    finally:
        torch.set_autocast_enabled(device, enabled)
