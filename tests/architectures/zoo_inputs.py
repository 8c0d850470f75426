"""What each model of the zoo is called with: two lines of seven token ids, or what `INPUTS` says."""

import inspect
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from transformers import PreTrainedModel

Inputs = dict[str, Tensor]
Maker = Callable[[PreTrainedModel, Generator], Inputs]
LINES, TOKENS, DECODER_TOKENS = 2, 7, 5
LOWEST_ID = 6  # ids below it are special tokens and stand for images and sounds


def make_inputs(model_type: str, model: PreTrainedModel, generator: Generator) -> Inputs:
    """Inputs of a model, drawn from a generator."""
    maker = INPUTS.get(type(model).__name__) or INPUTS.get(model_type) or _text
    return maker(model, generator)


def other_values(inputs: Inputs, generator: Generator) -> Inputs:
    """Inputs of the same shapes with other values."""
    return {name: _other(name, value, generator) for name, value in inputs.items()}


def _other(name: str, value: Tensor, generator: Generator) -> Tensor:
    if "mask" in name or name in ("bbox", "token_type_ids"):
        return value
    if value.is_floating_point():
        return torch.randn(value.shape, generator=generator).to(value.dtype)
    return torch.randint(int(value.min()), int(value.max()) + 1, value.shape, generator=generator)


def _ids(model: PreTrainedModel, generator: Generator, *shape: int) -> Tensor:
    rows = getattr(model.get_input_embeddings(), "num_embeddings", 0)
    highest = min(rows, 160) if rows > LOWEST_ID else 160
    return torch.randint(LOWEST_ID, highest, shape, generator=generator)


def _text(model: PreTrainedModel, generator: Generator) -> Inputs:
    takes = inspect.signature(type(model).forward).parameters
    inputs = {"input_ids": _ids(model, generator, LINES, TOKENS)}
    if "attention_mask" in takes:
        inputs["attention_mask"] = torch.ones(LINES, TOKENS, dtype=torch.long)
    return inputs | _decoder(model, generator)


def _decoder(model: PreTrainedModel, generator: Generator) -> Inputs:
    takes = inspect.signature(type(model).forward).parameters
    if "decoder_input_ids" not in takes or not getattr(model.config, "is_encoder_decoder", False):
        return {}
    return {"decoder_input_ids": _ids(model, generator, LINES, DECODER_TOKENS)}


INPUTS: dict[str, Maker] = {}
