"""Two short lines that a model can be run on: token ids, or noise in place of sound."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from xalign.model.placement import device_of
from xalign.model.wrapped import base_model_of, unwrapped

Inputs = dict[str, Tensor]
LINES, TOKENS, DECODER_TOKENS = 2, 7, 5
_HIGHEST_ID = 1000
_SAMPLES, _BINS = 4000, 80
_FRAMES = 64, 200  # some models take no sound as short as the first
# What configs call the number of values in one frame of sound.
_BIN_NAMES = (
    *("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "input_feat_size"),
    *("feature_size", "input_dim", "subsampling_input_dim"),
)


def example_inputs(model: nn.Module, seed: int) -> Iterator[Inputs]:
    """Yield inputs that the model may take, the likeliest first.

    A model that reads text gets text alone, whatever else it takes. The ids are no special tokens.

    Args:
        model: The model, in any wrapper.
        seed: Other seeds give other values of the same shapes.
    """
    base = base_model_of(model)
    takes = _names(base)
    generator = torch.Generator().manual_seed(seed)
    decoder = _decoder(base, takes, generator)
    if "input_ids" in takes:
        yield from (inputs | decoder for inputs in _text(base, takes, generator))
    if "input_features" in takes:
        yield from (inputs | decoder for inputs in _features(base, takes, generator))
    if "input_values" in takes:
        config = getattr(base, "config", None)
        picture = _number(config, ("max_length",)) or _SAMPLES, _number(config, _BIN_NAMES) or _BINS
        for shape in ((LINES, _SAMPLES), (LINES, 1, _SAMPLES), (LINES, *picture)):
            yield {"input_values": torch.randn(shape, generator=generator)} | decoder


def caller(model: nn.Module, inputs: Inputs) -> Callable[[], Any]:
    """Return a function that runs a model on inputs, without a cache.

    A model in DistributedDataParallel is run without this wrapper: other processes need not take part.
    """
    called, device = unwrapped(model), device_of(model)
    dtype = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    extra = {"use_cache": False, "logits_to_keep": 1, "return_dict": True}
    takes = _names(base_model_of(model))
    given = {name: value for name, value in extra.items() if name in takes}
    if dtype.itemsize < torch.finfo(torch.float16).bits // 8:  # weights in 8 bits take states in another type
        dtype = torch.float32
    placed = {
        name: value.to(device, dtype if value.is_floating_point() else None) for name, value in inputs.items()
    }
    return lambda: called(**placed, **given)


def arguments_of(model: nn.Module) -> list[str]:
    """Return the names of what a model's forward takes."""
    return _names(base_model_of(model))


def _names(base: nn.Module) -> list[str]:
    # Of the class: trainers replace the instance's forward by functions without a signature.
    return list(inspect.signature(type(base).forward).parameters)[1:]


def _text(base: Any, takes: list[str], generator: torch.Generator) -> Iterator[Inputs]:
    """Yield token ids: one per token, or several where sound is written as tokens of several codebooks."""
    mask = (
        {"attention_mask": torch.ones(LINES, TOKENS, dtype=torch.long)} if "attention_mask" in takes else {}
    )
    ids = _ids(base, generator, LINES, TOKENS)
    yield {"input_ids": ids} | mask
    if "bbox" in takes:  # places of the tokens on a page
        corners = torch.rand(LINES, TOKENS, 4, generator=generator).sort(-1).values
        yield {"input_ids": ids, "bbox": corners} | mask
    codebooks = _number(getattr(base, "config", None), ("num_codebooks",))
    if codebooks is not None:
        yield {"input_ids": _ids(base, generator, LINES * codebooks, TOKENS)}
        yield {"input_ids": _ids(base, generator, LINES, TOKENS, codebooks + 1)}


def _features(base: Any, takes: list[str], generator: torch.Generator) -> Iterator[Inputs]:
    """Yield features of sound: bins before frames or frames before bins, with a mask and without."""
    config = getattr(base, "config", None)
    bins = _number(config, _BIN_NAMES) or _BINS
    longest = _number(config, ("max_source_positions",))
    # Whisper takes twice as many frames as it has positions, and no other number.
    lengths = _FRAMES if longest is None else (*_FRAMES, 2 * longest)
    masks = [name for name in ("input_features_mask", "attention_mask") if name in takes]
    for frames in lengths:
        for shape in ((bins, frames), (frames, bins)):
            features = {"input_features": torch.randn(LINES, *shape, generator=generator)}
            yield from (features | {name: torch.ones(LINES, frames, dtype=torch.long)} for name in masks)
            yield features


def _ids(base: Any, generator: torch.Generator, *shape: int) -> Tensor:
    """Draw token ids that the config does not name as special ones."""
    rows = getattr(_embeddings(base), "num_embeddings", None)
    configs = list(_configs(getattr(base, "config", None)))
    size = rows or next((one.vocab_size for one in configs if hasattr(one, "vocab_size")), 100)
    special = {
        value
        for config in configs
        for name, value in vars(config).items()
        if name.endswith(("_token_id", "_token_index")) and isinstance(value, int)
    }
    usable = [one for one in range(min(int(size), _HIGHEST_ID)) if one not in special]
    usable = usable[min(6, len(usable) // 2) :]
    return torch.tensor(usable)[torch.randint(len(usable), shape, generator=generator)]


def _embeddings(base: Any) -> Any:
    try:
        return base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def _configs(config: Any) -> Iterator[Any]:
    """Yield a config and those within it."""
    if config is not None:
        yield config
        for value in vars(config).values():
            if isinstance(value, PretrainedConfig):
                yield from _configs(value)


def _number(config: Any, names: tuple[str, ...]) -> int | None:
    """Return the first number of one of these names, in a config or in those within it."""
    found = (getattr(one, name, None) for one in _configs(config) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _decoder(base: Any, takes: list[str], generator: torch.Generator) -> Inputs:
    is_pair = getattr(getattr(base, "config", None), "is_encoder_decoder", False)
    if not is_pair or "decoder_input_ids" not in takes:
        return {}
    return {"decoder_input_ids": _ids(base, generator, LINES, DECODER_TOKENS)}
