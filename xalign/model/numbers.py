"""Tokens of a prompt by their numbers: 0 is the first, −1 the last; padding is not counted."""

from collections.abc import Sequence
from numbers import Integral
from typing import TypeGuard

import torch
from jaxtyping import Bool
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.model.tokens import Tokens, Unknown

Numbers = int | Sequence[int]
_MOST = 2**31 - 1
"""More tokens than any prompt has, and few enough for a tensor's integers."""


def is_numbers(positions: object) -> TypeGuard[Numbers]:
    """Return whether positions are a number, or a list of numbers.

    Example:
        >>> is_numbers(-1), is_numbers([0, -1]), is_numbers("prompt")
        (True, True, False)
    """
    if isinstance(positions, Sequence) and not isinstance(positions, str | bytes):
        return all(_is_whole(one) for one in positions)
    return _is_whole(positions)


def _is_whole(one: object) -> bool:
    return isinstance(one, Integral) and not isinstance(one, bool)


def listed(numbers: Numbers) -> list[int]:
    """Return numbers as a list.

    Raises:
        ArgumentError: None, or one twice.
    """
    found = [int(one) for one in numbers] if isinstance(numbers, Sequence) else [int(numbers)]
    if not found or len(set(found)) < len(found):
        raise ArgumentError(f"positions={numbers!r:.60} must be different numbers of tokens, at least one")
    if max(map(abs, found)) > _MOST:
        raise ArgumentError(
            f"positions={numbers!r:.60} must be numbers of tokens, at most {_MOST} from an end"
        )
    return found


def chosen_by_number(numbers: Numbers, tokens: Tokens) -> Bool[Tensor, "batch token"]:
    """Return which tokens of a forward have one of these numbers in their prompt.

    Args:
        numbers: From 0 for the first token of a prompt, and back from −1 for its last.
        tokens: What is known of the tokens.

    Raises:
        ArgumentError: The numbers cannot be known, or a prompt that is shorter.
    """
    wanted, numbered = listed(numbers), tokens.numbered
    for one in wanted:
        _check_long_enough(one, tokens)
    counted = (numbered.from_start if one >= 0 else numbered.from_end for one in wanted)
    return torch.stack([found == one for found, one in zip(counted, wanted, strict=True)]).any(dim=0)


def _check_long_enough(number: int, tokens: Tokens) -> None:
    """Raise an error where a prompt that ends in this forward has no token of a number."""
    if isinstance(tokens.known_last_prompt, Unknown):
        return
    sizes = tokens.numbered.from_start + 1
    short = tokens.last_prompt & (sizes < (number + 1 if number >= 0 else -number))
    if bool(short.any()):
        sentence, place = short.nonzero()[0].tolist()
        raise ArgumentError(
            f"positions has number {number}, and the prompt of sentence {sentence // tokens.copies} has "
            f"{int(sizes[sentence, place])} token(s); give numbers that every prompt has, a mask, or a "
            "function"
        )
