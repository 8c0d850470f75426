"""`Start`: the model as it was before training, with its adapters off or as a copy."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import nn

from xalign.errors import ModelError
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.wrapped import adapter_disabled, has_adapter, unwrapped

Origin = Literal["adapter_off", "copy"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)


class Start:
    """The model as it was before training.

    With adapters off it costs no memory, and is the model that the adapters were put on. A copy costs the
    memory of all weights once more, and is the model as it is now, adapters included.

    Args:
        model: The model, before its first step.
        origin: `"adapter_off"`, or `"copy"`; None is the first of them.
        wanted_by: The options that need it, for error messages.

    Raises:
        ModelError: No adapter to switch off, or a model that cannot be copied.
    """

    def __init__(self, model: nn.Module, origin: Origin | None, wanted_by: str) -> None:
        inner = unwrapped(model)
        if origin != "copy" and not has_adapter(inner):
            raise ModelError(
                f"{wanted_by} compares with the model before training, and this model has no adapter to "
                "switch off: add one with PEFT, or pass start='copy', which keeps a copy of all weights"
            )
        self._copy = _copied(inner) if origin == "copy" else None

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield the model as it was, to be run without gradient inside the `with`.

        Args:
            model: The model as it is wrapped now.
        """
        if self._copy is None:
            with observing(model), adapter_disabled(unwrapped(model)):
                yield model
            return
        self._copy.to(device_of(model))
        with torch.no_grad():
            yield self._copy


def _copied(model: nn.Module) -> Any:
    """Return a copy that nothing trains, in evaluation mode.

    Raises:
        ModelError: Weights that are spread over devices.
    """
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        raise ModelError(
            "start='copy' is not for models whose weights are spread over devices; train adapters, which "
            "need no copy"
        )
    copied = copy.deepcopy(model).requires_grad_(False)
    copied.eval()
    for module in copied.modules():
        # What trainers put in the place of a forward may hold the model itself, and would run it.
        vars(module).pop("forward", None)
    return copied
