"""`peft`: an adapter that PEFT loads: IA3 if units are only multiplied, else LoRA."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from xalign.errors import ModelError
from xalign.exports.changed import Changed
from xalign.exports.fold import folded, try_against_hooks
from xalign.exports.format import Format, Request
from xalign.exports.projection import ChangedProjection
from xalign.extras import import_extra

_PREFIX = "base_model.model."


def write_adapter(request: Request, folder: Path) -> dict[str, Any]:
    """Write an adapter: IA3 where every change is a factor, else one-hot LoRA, with biases where needed.

    Args:
        request: What to export.
        folder: The new folder.

    Returns:
        What the provenance says of it.

    Raises:
        MissingExtraError: peft is not installed.
    """
    model, model_map = request.needed_model()
    configs = import_extra("peft", "train", "format='peft' needs peft")
    changed = [_projection(one) for one in folded(request.edits, model, model_map)]
    difference = try_against_hooks(request.edits, changed, model, model_map)
    common = {
        "base_model_name_or_path": model_map.name,
        "target_modules": [one.path for one in changed],
        "inference_mode": True,
        "task_type": "CAUSAL_LM" if getattr(model, "can_generate", lambda: False)() else None,
        "fan_in_fan_out": any(one.is_transposed for one in changed),
    }
    is_scaled = all(one.scale() is not None for one in changed)
    config, tensors = (_ia3 if is_scaled else _lora)(changed, common, configs)
    folder.mkdir()
    config.save_pretrained(str(folder))
    dtype = torch.float64 if model_map.dtype == torch.float64 else torch.float32
    tensors = {name: values.to(dtype).contiguous() for name, values in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return {"peft_type": str(config.peft_type.value), "largest_difference": difference}


def _projection(changed: Changed) -> ChangedProjection:
    if not isinstance(changed, ChangedProjection):
        raise ModelError(
            f"{changed.path} is a {type(changed.module).__name__}, and adapters change Linear alone; export "
            "as 'weights'"
        )
    return changed


def _ia3(
    changed: list[ChangedProjection], common: dict[str, Any], peft: Any
) -> tuple[Any, dict[str, Tensor]]:
    """Return an IA3 adapter, which multiplies what a projection takes or gives."""
    tensors, on_input = {}, []
    for one in changed:
        side, factors = one.scale() or ("input", torch.ones(0))
        on_input += [one.path] if side == "input" else []
        shape = (1, -1) if side == "input" else (-1, 1)
        tensors[f"{_PREFIX}{one.path}.ia3_l"] = factors.reshape(shape)
    return peft.IA3Config(**common, feedforward_modules=on_input), tensors


def _lora(
    changed: list[ChangedProjection], common: dict[str, Any], peft: Any
) -> tuple[Any, dict[str, Tensor]]:
    """Return a LoRA adapter whose scaling is 1: all modules have the rank of the largest change."""
    parts = {one.path: one.folded() for one in changed}
    rank = max(1, *(part.left.shape[1] for part in parts.values()))
    has_bias = any(bool(part.added_bias.any()) for part in parts.values())
    tensors = {}
    for path, part in parts.items():
        missing = rank - part.left.shape[1]
        first = torch.nn.functional.pad(part.right, (0, 0, 0, missing))
        second = torch.nn.functional.pad(part.left, (0, missing))
        tensors[f"{_PREFIX}{path}.lora_A.weight"] = first
        tensors[f"{_PREFIX}{path}.lora_B.weight"] = second
        if has_bias:
            tensors[f"{_PREFIX}{path}.lora_B.bias"] = part.added_bias
    return peft.LoraConfig(**common, r=rank, lora_alpha=rank, lora_bias=has_bias), tensors


PEFT = Format("peft", write_adapter, summary="an adapter for PeftModel.from_pretrained")
