"""`run`: one forward of a model for the stack that is read, with what the forward demands beside the batch.

- **A model of one stack** runs whole, without cache and with as few logits as it allows.
- **An encoder–decoder whose encoder is read** is given the sentences, and one token for its decoder, which
  its forward demands. `leaves_early` says whether the forward may be left before the decoder runs.
- **An encoder–decoder whose decoder is read** is given the batch that `decoder_batch` makes: the encoder
  reads the sentences, and the decoder reads the same sentences behind its start token.
- **A multimodal model in training** is told that no token stands for an image, where it demands that.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import pad

from xalign.errors import ModelError
from xalign.model.batches import Batch
from xalign.model.distributed import is_sharded
from xalign.model.placement import device_of
from xalign.model.wrapped import (
    accepted_by,
    base_model_of,
    encoder_of,
    registers_hooks_in_forward,
    transformer_of,
)

_IGNORED_LABEL = -100
_TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")


def run(model: nn.Module, batch: Batch) -> Any:
    """Run one forward of the top-level model, without cache and with as few logits as it allows.

    Raises:
        ModelError: The model does not take what the batch holds.
    """
    base = base_model_of(model)
    accepted = accepted_by(base)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    missing = [name for name in batch.inputs if name not in accepted]
    if missing and not takes_any:
        raise ModelError(
            f"{type(base).__name__} takes no {missing[0]}; pass the transformers model inside it"
        )
    inputs = batch.to(device_of(model))
    if is_pair(model) and "decoder_input_ids" not in inputs:
        # Any token that the decoder embeds: the encoder's states do not depend on it.
        inputs["decoder_input_ids"] = torch.zeros(
            batch.shape[0], 1, dtype=torch.long, device=device_of(model)
        )
    if base.training and "input_ids" in inputs and _is_multimodal(base):
        # Some demand to be told in training that no token stands for an image.
        names = [name for name in _TOKEN_TYPES if name in accepted and name not in inputs]
        inputs |= {name: torch.zeros_like(inputs["input_ids"]) for name in names}
    extra = {"use_cache": False, "logits_to_keep": 1}
    given = {name: value for name, value in extra.items() if name in accepted}
    return transformer_of(model)(**inputs, **given)


def _is_multimodal(base: Any) -> bool:
    config = getattr(base, "config", None)
    text_config = getattr(config, "get_text_config", None)
    return text_config is not None and text_config() is not config


def is_pair(model: nn.Module) -> bool:
    """Return whether a forward of this model runs an encoder and a decoder."""
    return encoder_of(model) is not None


def decoder_test(model: nn.Module) -> Callable[[nn.Module], bool]:
    """Return a function that tells whether a module of an encoder–decoder runs after the encoder.

    Of a model that is no encoder–decoder, no module does.
    """
    encoder = encoder_of(model)
    within = None if encoder is None else set(encoder.modules())
    return lambda module: within is not None and module not in within


def leaves_early(model: nn.Module, *, decodes: bool) -> bool:
    """Return whether a forward may be left once the sites that are read have fired.

    That is so for the encoder of an encoder–decoder. A forward that must finish what it began runs whole:
    that of sharded weights, and one that registers hooks of its own.

    Args:
        model: The model.
        decodes: Whether sites of the decoder are read.
    """
    may = is_pair(model) and not decodes
    return may and not is_sharded(model) and not registers_hooks_in_forward(model)


def decoder_batch(model: nn.Module, batch: Batch) -> Batch:
    """Return a batch whose `pooled` and `real` are of the decoder, which reads the sentences itself.

    The decoder is given its start token and then the tokens of the line that the encoder is given, as in
    training on the line itself. Position 0 is the start token, which is not pooled. Position t + 1 has token
    t of the line, counted from 0, as its input. Its state has seen the tokens up to t and, through the
    encoder, all of the line. Tokens behind the last one that is pooled in any line, like the one that ends a
    sentence, are not given to the decoder.

    The start token is the one that the model itself puts before labels: `decoder_start_token_id` of its
    config, or in mBART the token of the language, which is the line's last.

    Args:
        model: An encoder–decoder that reads token ids.
        batch: The lines as the encoder reads them.

    Raises:
        ModelError: A model whose encoder does not read token ids, or that has no start token.
    """
    ids = batch.inputs.get("input_ids")
    if ids is None:
        raise ModelError(
            f"the decoder of {type(base_model_of(model)).__name__} reads text, and its encoder is given "
            f"{', '.join(batch.inputs)}; read the encoder: stack='encoder'"
        )
    columns = int(batch.pooled.any(dim=0).nonzero().max()) + 1
    start = _start_tokens(model, ids, batch.real)
    real = pad(batch.real[:, :columns], (1, 0), value=True)
    inputs = {**batch.inputs, "decoder_input_ids": torch.cat([start, ids[:, :columns]], dim=1)}
    if "decoder_attention_mask" in accepted_by(base_model_of(model)):
        inputs["decoder_attention_mask"] = real.long()
    return Batch(inputs, pad(batch.pooled[:, :columns], (1, 0), value=False), batch.rows, mask=real)


def _start_tokens(model: nn.Module, ids: Tensor, real: Tensor) -> Int[Tensor, "line 1"]:
    """Return the token that each line's decoder starts with."""
    base = base_model_of(model)
    shift = getattr(base, "prepare_decoder_input_ids_from_labels", None)
    if shift is not None:
        try:
            shifted: Tensor = shift(labels=ids.masked_fill(~real, _IGNORED_LABEL).to(device_of(model)))
        except (TypeError, ValueError):  # its config does not say what its decoder starts with
            pass
        else:
            return shifted[:, :1].to(ids.device)
    start = getattr(base.config, "decoder_start_token_id", None)
    if start is None:
        raise ModelError(
            f"the config of {type(base).__name__} does not say which token its decoder starts with; set "
            "model.config.decoder_start_token_id, or pass the model with its language-model head"
        )
    return torch.full((len(ids), 1), int(start), dtype=ids.dtype)
