"""`digest_of_weights`: which weights units were found in."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xalign.model.architectures.map import ModelMap

_SAMPLED = 64  # values of each parameter


def digest_of_weights(model_map: ModelMap) -> str | None:
    """Return a digest of the weights of a model's blocks, or None where they cannot be read as they are.

    It is computed from evenly spaced values of every parameter, in bfloat16: a model has the same digest in
    float32 and in bfloat16, and training changes it as soon as it changes weights noticeably. Adapters beside
    the weights (LoRA) do not count, adapters merged into them do; embeddings and heads do not count, since
    they have no units. Quantised weights, weights without values, and weights that are split between
    processes have no digest.

    Args:
        model_map: The map of the model.
    """
    digest = hashlib.sha256()
    for parameter in _parameters(model_map):
        if not _is_whole(parameter):
            return None
        values = parameter.detach().reshape(-1)
        places = torch.linspace(0, len(values) - 1, min(_SAMPLED, len(values)), dtype=torch.float64)
        sampled = values[places.long().to(values.device)].to(torch.bfloat16).cpu()
        digest.update(f"{tuple(parameter.shape)}".encode() + sampled.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parameters(model_map: ModelMap) -> Iterator[Tensor]:
    """Yield the parameters of the blocks, in the order of the model, without those that PEFT adds."""
    for block in model_map.blocks:
        yield from _without_adapters(block)


def _without_adapters(module: nn.Module) -> Iterator[Tensor]:
    for name in ("base_layer", "original_module"):  # what an adapter of PEFT stands around
        if name in module._modules:
            yield from _without_adapters(module.get_submodule(name))
            return
    yield from module.parameters(recurse=False)
    for child in module.children():
        yield from _without_adapters(child)


def _is_whole(parameter: Tensor) -> bool:
    is_plain = type(parameter) in (Tensor, nn.Parameter) and parameter.layout == torch.strided
    return is_plain and parameter.is_floating_point() and not parameter.is_meta and parameter.numel() > 0
