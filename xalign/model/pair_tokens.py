"""The tokens of a forward of an encoder–decoder: its encoder is given the prompt, its decoder the rest."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from xalign.model.forward_facts import cache_length, cache_of, columns_of, prompt_mask, real_of
from xalign.model.tokens import Numbered, Tokens, Unknown

ENCODER, DECODER = "encoder", "decoder"
_IGNORED_LABEL = -100


def tokens_of_encoder(given: dict[str, Any]) -> Tokens | None:
    """Return the tokens that the encoder is given, all of them prompt; None where it does not run."""
    inputs = next(
        (given[name] for name in ("input_ids", "inputs_embeds") if given.get(name) is not None), None
    )
    if given.get("encoder_outputs") is not None or not isinstance(inputs, Tensor):
        return None
    shape, mask = inputs.shape[:2], given.get("attention_mask")
    column = torch.arange(shape[1], device=inputs.device)
    real = real_of(mask, inputs, 0)
    whole = prompt_mask(mask, inputs, shape[1])
    last: Tensor | Unknown = whole
    numbers: Numbered | Unknown = whole if isinstance(whole, Unknown) else Numbered.within(whole)
    if not isinstance(whole, Unknown):
        last = column == ((whole * (column + 1)).amax(dim=1) - 1).unsqueeze(1)
    prompt = torch.ones(shape, dtype=torch.bool, device=inputs.device)
    return Tokens(shape, given.get("input_ids"), column, real, prompt, last, numbers)


def tokens_of_decoder(given: dict[str, Any]) -> Tokens | None:
    """Return the tokens that the decoder is given, none of them prompt; None where it is not known.

    Given labels alone, models make the decoder's input of them themselves: position t + 1 has label t.
    """
    named = ("decoder_input_ids", "decoder_inputs_embeds")
    inputs = next((given[name] for name in named if given.get(name) is not None), None)
    ids, labels, past = given.get("decoder_input_ids"), given.get("labels"), 0
    real: Tensor | Unknown
    if isinstance(inputs, Tensor):
        known = cache_length(cache_of(given))
        if isinstance(known, Unknown):
            nothing = torch.zeros(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
            numbers = Numbered.of_none(nothing.shape, nothing.device)
            return Tokens(inputs.shape[:2], ids, known, known, nothing, nothing, numbers)
        past = known
        mask = given.get("decoder_attention_mask")
        real = real_of(mask, inputs, past)
    elif isinstance(labels, Tensor) and labels.dim() == 2:
        inputs = labels
        real = pad(labels[:, :-1] != _IGNORED_LABEL, (1, 0), value=True)
    else:
        return None
    nothing = torch.zeros(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    numbers = Numbered.of_none(nothing.shape, nothing.device)
    return Tokens(inputs.shape[:2], ids, columns_of(inputs, past, {}), real, nothing, nothing, numbers)
