"""At which tokens of a forward a write acts: a name, a mask or a function."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.numbers import Numbers, chosen_by_number, is_numbers, listed
from xalign.model.tokens import Tokens, Unknown
from xalign.model.user_function import errors_of
from xalign.renamed import renamed

Where = Literal["all", "prompt", "generated", "last_prompt"]
WHERE: tuple[Where, ...] = ("all", "prompt", "generated", "last_prompt")
Positions = Where | Numbers | Bool[Tensor, "batch column"] | Callable[[Tokens], Bool[Tensor, "batch token"]]
_ALLOWED = f"{', '.join(WHERE)}, numbers of the prompt's tokens like [0, -1], a boolean mask, or a function"
_NAMED: dict[str, Callable[[Tokens], Tensor]] = {
    "all": lambda tokens: tokens.real,
    "prompt": lambda tokens: tokens.real & tokens.prompt,
    "generated": lambda tokens: tokens.real & ~tokens.prompt,
    "last_prompt": lambda tokens: tokens.last_prompt,
}


def check_positions(positions: Positions) -> None:
    """Raise an error where `positions` is not a name, numbers of tokens, a boolean mask or a function."""
    if isinstance(positions, str):
        if positions not in WHERE:
            raise ArgumentError(f"positions={positions!r} must be one of {_ALLOWED}")
    elif is_numbers(positions):
        listed(positions)
    elif isinstance(positions, Tensor):
        if positions.dtype != torch.bool or positions.dim() != 2 or not positions.numel():
            raise ArgumentError(
                f"positions must be a boolean mask [sentence, column]; it is {positions.dtype} of shape "
                f"{tuple(positions.shape)}"
            )
    elif not callable(positions):
        raise ArgumentTypeError(f"positions={positions!r:.60} must be one of {_ALLOWED}")
    else:
        function_of("positions", positions, "tokens")


def chosen(positions: Positions, tokens: Tokens) -> Bool[Tensor, "batch token"]:
    """Return which tokens of a forward are chosen; never padding.

    Args:
        positions: A name, numbers, a mask or a function.
        tokens: What is known of the tokens.

    Raises:
        ArgumentError: Something that cannot be known is needed, a mask of other rows, or a function that
            raises an error or returns something else than a boolean tensor of that shape.
    """
    if isinstance(positions, str):
        return _NAMED[positions](tokens)
    if isinstance(positions, Tensor):
        return _of_mask(positions, tokens)
    if is_numbers(positions):
        return chosen_by_number(positions, tokens)
    with errors_of("positions(tokens)"):
        given = positions(tokens)  # type: ignore[operator]
    if not isinstance(given, Tensor) or given.dtype != torch.bool or given.shape != tokens.shape:
        raise ArgumentError(
            f"positions(tokens) must return a boolean tensor of shape {tuple(tokens.shape)}, not "
            f"{given!r:.80}"
        )
    real = tokens.real
    return real & given.to(real.device)


def _of_mask(mask: Tensor, tokens: Tokens) -> Tensor:
    column, rows = tokens.column, tokens.shape[0]
    if len(mask) * tokens.copies == rows:
        mask = mask.repeat_interleave(tokens.copies, dim=0)
    elif len(mask) != rows:
        raise ArgumentError(f"positions is a mask of {len(mask)} sentences, and the forward has {rows}")
    mask = mask.to(column.device)
    marked = (column < mask.shape[1]) & mask[:, column.clamp(max=mask.shape[1] - 1)]
    # A mask says itself which tokens are meant, so that padding need not be known.
    return marked if isinstance(tokens.known_real, Unknown) else marked & tokens.known_real


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
