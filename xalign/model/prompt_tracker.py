"""`PromptTracker`: which tokens of each forward are prompt, and which are generated, from what is known."""

from inspect import signature
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ModelError
from xalign.model.forward_facts import cache_length, cache_of, columns_of, packed_starts, prompt_mask, real_of
from xalign.model.generation import GenerateCall, GenerateWatcher
from xalign.model.numbers import is_numbers
from xalign.model.pair_tokens import DECODER, ENCODER, tokens_of_decoder, tokens_of_encoder
from xalign.model.run import decoder_test, is_pair
from xalign.model.sound_tokens import sound_tokens
from xalign.model.tokens import Numbered, Tokens, Unknown

PromptLength = int | Int[Tensor, " batch"]


def check_prompt_length(prompt_length: object) -> None:
    """Raise an error where `prompt_length` is neither None nor a number of columns, for all rows or each."""
    if isinstance(prompt_length, Tensor):
        whole = not (prompt_length.is_floating_point() or prompt_length.dtype == torch.bool)
        if prompt_length.dim() != 1 or not whole or not len(prompt_length) or int(prompt_length.min()) < 1:
            raise ArgumentError(
                f"prompt_length={prompt_length!r:.80} must be a whole number of columns, or a tensor with "
                "one for each row, each at least 1"
            )
    elif prompt_length is not None:
        whole_number("prompt_length", prompt_length, least=1)


class PromptTracker:
    """Tells which tokens of each forward are prompt, which were generated, and which are padding.

    - Inside `generate`, the prompt is what `generate` was given. A forward is its own where it goes on with
      its cache and its prompt. Of others, and of all forwards under guidance, the prompt is not known.
    - The encoder of an encoder–decoder is given the prompt, and its decoder what is generated: its start
      token and what follows. This holds in `generate` and outside.
    - Outside, all tokens of a forward without a cache are prompt. If there are tokens in its cache,
      `prompt_length` must say where the prompt ends.

    Args:
        watcher: The calls of `generate` in progress.
        prompt_length: Number of columns of the prompt, for all rows or for each. It holds inside `generate`
            too.
    """

    def __init__(
        self, watcher: GenerateWatcher | None = None, prompt_length: PromptLength | None = None
    ) -> None:
        self._watcher = GenerateWatcher() if watcher is None else watcher
        self._prompt_length = prompt_length

    def check_sides(self, positions: object, sides: set[str]) -> None:
        """Refuse positions that the edited sides of an encoder–decoder do not have.

        Raises:
            ArgumentError: Such positions, or a `prompt_length`.
        """
        if sides <= {""}:
            return
        if self._prompt_length is not None:
            raise ArgumentError(
                f"prompt_length={self._prompt_length!r:.60} is not for an encoder–decoder, whose encoder is "
                "given the prompt and whose decoder the rest; leave it out"
            )
        wrong = {"generated": {ENCODER}, "prompt": {DECODER}, "last_prompt": {DECODER}}
        where = positions if isinstance(positions, str) else "prompt" if is_numbers(positions) else ""
        if sides == wrong.get(where):
            only = "prompt" if ENCODER in sides else "what is generated"
            raise ArgumentError(
                f"positions={positions!r:.60}: the sites are in the {sides.pop()}, which is given {only} "
                "only; give positions='all', or sites of the other stack"
            )
        if isinstance(positions, Tensor) and len(sides) > 1:
            raise ArgumentError(
                "positions is a mask, and the sites are in the encoder and in the decoder, whose columns are "
                "of different tokens; give a function of tokens, or edit one stack in each of two contexts"
            )

    def follow(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], side: str = ""
    ) -> Tokens | None:
        """Return what is known of the tokens of the forward that is about to run with these arguments.

        Args:
            model: The model that is called.
            args: Its positional arguments.
            kwargs: Its named arguments.
            side: Whose tokens: those of the encoder or of the decoder of an encoder–decoder; empty for other
                models.

        Returns:
            The tokens; None where this forward does not run this side.

        Raises:
            ModelError: Neither `input_ids` nor `inputs_embeds` nor sound is among them, or `cache_position`
                does not agree with the cache.
        """
        given = dict(zip(signature(type(model).forward).parameters, (model, *args), strict=False)) | kwargs
        is_sound = side != DECODER and given.get("input_ids") is None
        if is_sound and (tokens := sound_tokens(model, given)) is not None:
            return tokens
        if side:
            return tokens_of_encoder(given) if side == ENCODER else tokens_of_decoder(given)
        inputs = inputs_of(given)
        past = cache_length(cache_of(given))
        if isinstance(past, Unknown):
            return Tokens(inputs.shape[:2], given.get("input_ids"), *(5 * (past,)))
        call = self._watcher.current
        if call is not None:
            return self._in_generate(call, inputs, past, given)
        starts = packed_starts(inputs, past, given)
        if starts is not None:
            return self._packed(starts, inputs, given)
        return self._by_hand(inputs, past, given)

    def _by_hand(self, inputs: Tensor, past: int, given: dict[str, Any]) -> Tokens:
        """Return the tokens of a forward outside of `generate`."""
        mask, ids, end = given.get("attention_mask"), given.get("input_ids"), past + inputs.shape[1]
        column, real = columns_of(inputs, past, given), real_of(mask, inputs, past)
        if self._prompt_length is None and past:
            unknown = Unknown(
                f"outside of generate, a forward that goes on with a cache of {past} tokens may carry prompt "
                "or generated tokens; give prompt_length=, a boolean mask, or positions='all'"
            )
            return Tokens(inputs.shape[:2], ids, column, real, *(3 * (unknown,)))
        width = _per_row(end if self._prompt_length is None else self._prompt_length, inputs)
        return Tokens(
            inputs.shape[:2],
            ids,
            column,
            real,
            *_split(column, width, prompt_mask(mask, inputs, int(width.max()))),
        )

    def _in_generate(self, call: GenerateCall, inputs: Tensor, past: int, given: dict[str, Any]) -> Tokens:
        """Return the tokens of a forward inside `generate`."""
        mask, ids = given.get("attention_mask"), given.get("input_ids")
        column, real = columns_of(inputs, past, given), real_of(mask, inputs, past)
        foreign = call.why_foreign(inputs, past, cache_of(given))
        if foreign is not None:
            return Tokens(inputs.shape[:2], ids, foreign, real, *(3 * (foreign,)))
        if isinstance(call.width, Unknown):
            return Tokens(inputs.shape[:2], ids, column, real, *(3 * (call.width,)))
        copies = len(inputs) // call.rows
        whole: Tensor | Unknown
        if call.real is None:  # what transformers made of the prompt stands in the forward's mask
            whole = prompt_mask(mask, inputs, call.width)
        else:
            whole = call.real.to(inputs.device).repeat_interleave(copies, dim=0)
            real = whole[:, column.clamp(max=call.width - 1)] | (column >= call.width)
        width, more = _per_row(call.width, inputs, copies), 0
        if self._prompt_length is not None:
            # A prompt that ends after this forward ends one token after it as far as this forward can tell.
            width = _per_row(self._prompt_length, inputs, copies)
            width = width.clamp(max=max(call.width, int(column[-1]) + 2))
            more = max(int(width.max()) - call.width, 0)
        if more and not isinstance(whole, Unknown):
            whole = nn.functional.pad(whole, (0, more), value=True)  # generated tokens are no padding
        return Tokens(inputs.shape[:2], ids, column, real, *_split(column, width, whole), copies)

    def _packed(self, starts: Tensor, inputs: Tensor, given: dict[str, Any]) -> Tokens:
        """Return the tokens of rows that hold several sequences each, all of them real."""
        column = columns_of(inputs, 0, given)
        own = column - torch.where(starts, column, 0).cummax(dim=1).values
        ends = torch.ones_like(starts)
        ends[:, :-1] = starts[:, 1:]
        prompt = torch.ones_like(starts)
        if self._prompt_length is not None:
            if isinstance(self._prompt_length, Tensor):
                raise ArgumentError(
                    "prompt_length has one number for each row, and these rows hold several sequences each; "
                    "give one number for all, or a boolean mask"
                )
            prompt = own < self._prompt_length
            ends = (ends & prompt) | (own == self._prompt_length - 1)
        # The end of each token's own prompt: the nearest one from here on.
        nearest = torch.where(ends, column, column[-1] + 1).flip(1).cummin(dim=1).values.flip(1)
        numbers = Numbered(torch.where(prompt, own, -1), torch.where(prompt, column - nearest - 1, 0))
        real = torch.ones_like(starts)
        return Tokens(starts.shape, given.get("input_ids"), column, real, prompt, ends, numbers)


def side_of(model: nn.Module, module: nn.Module) -> str:
    """Return whether a module is in the encoder or in the decoder; empty for models that do not have both."""
    if not is_pair(model):
        return ""
    return DECODER if decoder_test(model)(module) else ENCODER


def inputs_of(given: dict[str, Any]) -> Tensor:
    """Return the token ids [batch, token] of a forward, or the embeddings [batch, token, width]."""
    inputs = given.get("input_ids")
    inputs = given.get("inputs_embeds") if inputs is None else inputs
    if not isinstance(inputs, Tensor):
        raise ModelError("the forward was given neither input_ids nor inputs_embeds")
    return inputs


def _per_row(width: PromptLength, inputs: Tensor, copies: int = 1) -> Int[Tensor, " batch"]:
    """Return the number of columns of each row's prompt."""
    n = len(inputs)
    if not isinstance(width, Tensor):
        return torch.full((n,), width, device=inputs.device)
    if len(width) * copies == n:
        width = width.repeat_interleave(copies)
    elif len(width) != n:
        raise ArgumentError(f"prompt_length is of {len(width)} rows, and the forward has {n}")
    return width.to(inputs.device)


def _split(
    column: Int[Tensor, " token"],
    width: Int[Tensor, " batch"],
    whole: Bool[Tensor, "batch column"] | Unknown,
) -> tuple[Bool[Tensor, "batch token"], Bool[Tensor, "batch token"] | Unknown, Numbered | Unknown]:
    """Return which tokens are prompt, which is the last real token of its prompt, and their numbers."""
    prompt = column < width.unsqueeze(1)
    if isinstance(whole, Unknown):
        return prompt, whole, whole
    at = torch.arange(whole.shape[1], device=column.device)
    of_prompt = whole & (at < width.unsqueeze(1))
    ends = (of_prompt * (at + 1)).amax(dim=1) - 1
    return prompt, column == ends.unsqueeze(1), Numbered.within(of_prompt, column)
