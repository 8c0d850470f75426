"""Two short lines that a model can be run on: token ids, or noise in place of sound."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xalign.model.placement import device_of
from xalign.model.wrapped import base_model_of, unwrapped

Inputs = dict[str, Tensor]
LINES, TOKENS, DECODER_TOKENS = 2, 7, 5
_HIGHEST_ID = 1000
_SAMPLES, _FRAMES, _BINS = 4000, 64, 80


def example_inputs(model: nn.Module, seed: int) -> Iterator[Inputs]:
    """Yield inputs that the model may take, the likeliest first.

    A model that reads text gets text alone, whatever else it takes. The ids are no special tokens of the config.

    Args:
        model: The model, in any wrapper.
        seed: Other seeds give other values of the same shapes.
    """
    base = base_model_of(model)
    takes = _names(base)
    generator = torch.Generator().manual_seed(seed)
    decoder = _decoder(base, takes, generator)
    if "input_ids" in takes:
        mask = {"attention_mask": torch.ones(LINES, TOKENS, dtype=torch.long)}
        ids = {"input_ids": _ids(base, generator, TOKENS)}
        yield ids | (mask if "attention_mask" in takes else {}) | decoder
    config = getattr(base, "config", None)
    if "input_features" in takes:
        for shape in _feature_shapes(config):
            yield {"input_features": torch.randn(LINES, *shape, generator=generator)} | decoder
    if "input_values" in takes:
        yield {"input_values": torch.randn(LINES, _SAMPLES, generator=generator)} | decoder


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


def _names(base: nn.Module) -> list[str]:
    # Of the class: trainers replace the instance's forward by functions without a signature.
    return list(inspect.signature(type(base).forward).parameters)[1:]


def _ids(base: Any, generator: torch.Generator, tokens: int) -> Tensor:
    """Draw token ids that the config does not name as special ones."""
    config = getattr(base, "config", None)
    rows = getattr(_embeddings(base), "num_embeddings", None) or getattr(config, "vocab_size", None) or 100
    special = {
        value
        for one in {id(config): config, id(_text(config)): _text(config)}.values()
        for name, value in vars(one).items()
        if name.endswith(("_token_id", "_token_index")) and isinstance(value, int)
    } if config is not None else set()  # fmt: skip
    usable = [one for one in range(min(int(rows), _HIGHEST_ID)) if one not in special]
    usable = usable[min(6, len(usable) // 2) :]
    drawn = torch.randint(len(usable), (LINES, tokens), generator=generator)
    return torch.tensor(usable)[drawn]


def _embeddings(base: Any) -> Any:
    try:
        return base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def _text(config: Any) -> Any:
    get = getattr(config, "get_text_config", None)
    return config if get is None else get()


def _decoder(base: Any, takes: list[str], generator: torch.Generator) -> Inputs:
    is_pair = getattr(getattr(base, "config", None), "is_encoder_decoder", False)
    if not is_pair or "decoder_input_ids" not in takes:
        return {}
    return {"decoder_input_ids": _ids(base, generator, DECODER_TOKENS)}


def _feature_shapes(config: Any) -> Iterator[tuple[int, int]]:
    """Yield the shapes that features of sound may have: bins before frames, and frames before bins."""
    names = ("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim", "feature_size", "input_dim")
    bins = next((int(one) for name in names if isinstance(one := getattr(config, name, None), int)), _BINS)
    longest = getattr(config, "max_source_positions", None)
    if isinstance(longest, int):  # Whisper takes twice as many frames as it has positions, and no other number
        yield bins, 2 * longest
    yield _FRAMES, bins
    yield bins, _FRAMES
