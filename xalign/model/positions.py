"""Which tokens of a forward are prompt, and which are generated. Models are not told, so it is worked out."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.renamed import renamed

Where = Literal["all", "prompt", "generated", "last_prompt"]
WHERE: tuple[Where, ...] = ("all", "prompt", "generated", "last_prompt")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one forward.

    Attributes:
        ids: Token ids; None where the model was given embeddings.
        column: Position of each token in the whole sequence; padding and cached tokens count.
        real: True at tokens that are not padding.
        prompt: True at tokens of the prompt; the others were generated.
        last_prompt: True at the last real token of each prompt.
    """

    ids: Int[Tensor, "batch token"] | None
    column: Int[Tensor, " token"]
    real: Bool[Tensor, "batch token"]
    prompt: Bool[Tensor, "batch token"]
    last_prompt: Bool[Tensor, "batch token"]


Positions = Where | Bool[Tensor, "batch column"] | Callable[[Tokens], Bool[Tensor, "batch token"]]


def check_positions(positions: Positions) -> None:
    """Raise an error where `positions` is not a name, a boolean mask or a function."""
    if isinstance(positions, str):
        if positions not in WHERE:
            raise ArgumentError(
                f"positions={positions!r} must be one of {', '.join(WHERE)}, a boolean mask, or a function"
            )
    elif isinstance(positions, Tensor):
        if positions.dtype != torch.bool or positions.dim() != 2:
            raise ArgumentError(
                f"positions must be a boolean mask [sentence, column]; it is {positions.dtype} of shape "
                f"{tuple(positions.shape)}"
            )
    elif not callable(positions):
        raise ArgumentTypeError(
            f"positions={positions!r:.60} must be one of {', '.join(WHERE)}, a boolean mask, or a function"
        )


def chosen(positions: Positions, tokens: Tokens) -> Bool[Tensor, "batch token"]:
    """Return which tokens of a forward are chosen; never padding."""
    if isinstance(positions, str):
        named = {"all": tokens.real, "prompt": tokens.prompt, "last_prompt": tokens.last_prompt}
        return tokens.real & (~tokens.prompt if positions == "generated" else named[positions])
    if isinstance(positions, Tensor):
        mask = positions.to(tokens.real.device)
        if len(mask) != len(tokens.real):
            raise ArgumentError(
                f"positions is a mask of {len(mask)} sentences, and the forward has {len(tokens.real)}"
            )
        inside = tokens.column < mask.shape[1]
        return tokens.real & inside & mask[:, tokens.column.clamp(max=mask.shape[1] - 1)]
    given = positions(tokens)
    if not isinstance(given, Tensor) or given.dtype != torch.bool or given.shape != tokens.real.shape:
        raise ArgumentError(
            f"positions(tokens) must return a boolean tensor of shape {tuple(tokens.real.shape)}, not "
            f"{given!r:.80}"
        )
    return tokens.real & given.to(tokens.real.device)


class PromptTracker:
    """Follows the forwards of a model, and tells which tokens of each are prompt.

    `generate` does not tell the model. With a cache, its first call carries the prompt and an empty
    cache; later calls carry one token each. Without a cache, each call carries the whole sequence: it
    continues the last prompt of P columns if it is longer and its first P columns are equal, and the columns
    after P are generated. Beams may change places between calls, so only the prompt is kept.
    """

    def __init__(self) -> None:
        self._prompt: Tensor | None = None
        self._real: Tensor | None = None

    def follow(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tokens:
        """Return the tokens of the forward that is about to run with these arguments.

        Args:
            model: The model that is called.
            args: Its positional arguments.
            kwargs: Its named arguments.

        Raises:
            ModelError: Neither `input_ids` nor `inputs_embeds` is among them.
        """
        given = dict(zip(signature(type(model).forward).parameters, (model, *args), strict=False)) | kwargs
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        inputs = ids if ids is not None else embeds
        if not isinstance(inputs, Tensor):
            raise ModelError("the forward was given neither input_ids nor inputs_embeds")
        n, length = inputs.shape[:2]
        cache = given.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        column = torch.arange(past, past + length, device=inputs.device)
        mask = given.get("attention_mask")
        real = torch.ones(n, length, dtype=torch.bool, device=inputs.device)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            real = mask[:, -length:].to(inputs.device).bool()
        if not past and not self._continues(inputs):
            self._prompt, self._real = inputs.detach().clone(), real
        width = self._prompt.shape[1] if self._prompt is not None else 0
        prompt = (column < width).expand(n, length)
        last = torch.zeros_like(real)
        if not past and self._real is not None and width:
            columns = torch.arange(width, device=inputs.device)
            ends = (self._real * (columns + 1)).amax(dim=1) - 1
            last[torch.arange(n, device=inputs.device), ends] = True
        return Tokens(ids, column, real, prompt, last & real)

    def _continues(self, inputs: Tensor) -> bool:
        """Return whether a whole sequence is the last prompt followed by more tokens."""
        prompt = self._prompt
        if prompt is None or inputs.shape[0] != prompt.shape[0] or inputs.shape[1] <= prompt.shape[1]:
            return False
        return inputs.dtype == prompt.dtype and torch.equal(inputs[:, : prompt.shape[1]], prompt)


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
