"""`TorchState`: the settings of torch that a forward can change, noted and put back."""

import random
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


class TorchState:
    """Gradient mode, autocast and the compiler's stance, as they are now.

    They are put back by value. The context managers of torch would leave them changed if an interrupt came
    before the first line of their `__exit__`.

    Args:
        devices: Types of device whose autocast is noted.
    """

    def __init__(self, devices: Iterable[str] = ("cpu",)) -> None:
        self._gradient = torch.is_grad_enabled()
        self._autocast = {
            device: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in devices
        }
        self._caches = torch.is_autocast_cache_enabled()
        self._nesting = _autocast_nesting()
        self._stance = stance()

    def put_back(self) -> None:
        """Make the settings again what they were."""
        torch.set_grad_enabled(self._gradient)
        for device, (enabled, dtype) in self._autocast.items():
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, dtype)
        torch.set_autocast_cache_enabled(self._caches)
        while _autocast_nesting() > self._nesting:
            # As torch does at the end of an autocast: weights cast for it must not outlive it.
            if torch.autocast_decrement_nesting() == 0:
                torch.clear_autocast_cache()
        put_back_stance(self._stance)


class RandomState:
    """The state of every random number generator that a forward may draw from.

    Args:
        devices: The devices of the model.
    """

    def __init__(self, devices: Iterable[torch.device] = ()) -> None:
        self._torch = torch.get_rng_state()
        self._cuda = {
            device: torch.cuda.get_rng_state(device) for device in set(devices) if device.type == "cuda"
        }
        self._python, self._numpy = random.getstate(), np.random.get_state()

    def put_back(self) -> None:
        """Make the generators again what they were."""
        torch.set_rng_state(self._torch)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
        random.setstate(self._python)
        np.random.set_state(self._numpy)


def stance() -> Any:
    """Return the stance of torch's compiler; None where nothing was compiled yet."""
    return getattr(sys.modules.get("torch._dynamo.eval_frame"), "_stance", None)


def put_back_stance(before: Any) -> None:
    """Set a stance that `stance` returned, where it is another now."""
    if before is not None and stance() is not before:
        sys.modules["torch._dynamo.eval_frame"]._set_stance(before)


def _autocast_nesting() -> int:
    """Return how many autocasts are open. Torch tells it only to those who open one."""
    return torch.autocast_increment_nesting() and torch.autocast_decrement_nesting()
