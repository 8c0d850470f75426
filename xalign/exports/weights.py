"""`weights`: an edited checkpoint, a folder as `save_pretrained` writes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.exports.biases import BiasSwitch, bias_switch
from xalign.exports.changed import Changed
from xalign.exports.fold import folded, swapped, try_against_hooks
from xalign.exports.format import Format, Request
from xalign.model.architectures.kinds_of_module import widths_of
from xalign.model.undo import Steps, undo


def write_checkpoint(request: Request, folder: Path) -> dict[str, Any]:
    """Write the model with the edits in its weights and biases.

    Args:
        request: What to export.
        folder: The new folder.

    Returns:
        What the provenance says of it.

    Raises:
        ModelError: A model that cannot be saved, or that has no place for a constant that is added.
    """
    model, model_map = request.needed_model()
    saved: Any = model
    if not hasattr(model, "save_pretrained"):
        raise ModelError(
            f"{type(model).__name__} has no save_pretrained; pass the model of transformers itself, not "
            "one that holds it"
        )
    changed = folded(request.edits, model, model_map)
    switch = bias_switch(model, [one.path for one in changed if one.needs_bias])
    difference = try_against_hooks(request.edits, changed, model, model_map)
    with swapped(changed, _zeros(model, switch, changed)), _set(model, switch):
        saved.save_pretrained(str(folder))
    if request.tokenizer is not None:
        request.tokenizer.save_pretrained(str(folder))
    return {"config": dict.fromkeys(switch.names, True), "largest_difference": difference}


def _zeros(model: nn.Module, switch: BiasSwitch, changed: list[Changed]) -> dict[nn.Module, Tensor]:
    """Return a bias of zeros for each projection that a setting gives one without need."""
    done = {one.path for one in changed}
    modules: list[Any] = [model.get_submodule(path) for path in switch.modules if path not in done]
    return {module: torch.zeros(widths_of(module)[1]).to(module.weight) for module in modules}


@contextmanager
def _set(model: Any, switch: BiasSwitch) -> Iterator[None]:
    """Let the config of a model have some settings True inside the `with`."""
    steps: Steps = [partial(setattr, model.config, name, False) for name in switch.names]
    try:
        try:
            for name in switch.names:
                setattr(model.config, name, True)
            yield
        finally:
            undo(steps)
    finally:
        undo(steps)


WEIGHTS = Format(
    "weights", write_checkpoint, summary="an edited checkpoint for from_pretrained", saves_tokenizer=True
)
