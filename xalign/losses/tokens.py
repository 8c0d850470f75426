"""What losses of tokens share: checks of both sides and their masks, and tokens as directions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.direction import directions


def checked_tokens(
    language: Float[Tensor, "pair token width"],
    pivot: Float[Tensor, "pair pivot_token width"],
    language_mask: Bool[Tensor, "pair token"],
    pivot_mask: Bool[Tensor, "pair pivot_token"],
    names: tuple[str, str, str, str] = ("language", "pivot", "language_mask", "pivot_mask"),
) -> tuple[Float[Tensor, "pair token width"], Float[Tensor, "pair pivot_token width"]]:
    """Return the tokens of both sides in float32 or a wider type; `names` are what errors call the arguments.

    Raises:
        ArgumentError: Sides that are not [pair, token, width] of as many pairs and one width, no pair, or a
            mask of another shape or without a token that counts.
        ArgumentTypeError: A side that is no tensor of floating-point numbers, a mask that is not boolean.
    """
    for name, side in zip(names[:2], (language, pivot), strict=True):
        if not isinstance(side, Tensor) or not side.is_floating_point():
            raise ArgumentTypeError(f"{name} must be a tensor of floating-point numbers, not {side!r:.60}")
    both = " and ".join(names[:2])
    shapes = tuple(language.shape), tuple(pivot.shape)
    if language.dim() != 3 or pivot.dim() != 3 or shapes[0][::2] != shapes[1][::2]:
        raise ArgumentError(
            f"{both} must both be [pair, token, width], of as many pairs and one width; they are "
            f"{shapes[0]} and {shapes[1]}"
        )
    if not len(language):
        raise ArgumentError("the batch has no pair; give at least 1")
    if not language.shape[2]:
        raise ArgumentError(f"{both} have width 0; give at least one coordinate")
    check_mask(names[2], language_mask, shapes[0][:2])
    check_mask(names[3], pivot_mask, shapes[1][:2])
    dtype = torch.promote_types(language.dtype, torch.float32)
    return language.to(dtype), pivot.to(dtype)


def check_mask(name: str, mask: Bool[Tensor, "pair token"], shape: tuple[int, ...]) -> None:
    """Raise an error where a mask does not fit, or where a sentence has no token that counts."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise ArgumentTypeError(f"{name} must be a tensor of True and False, not {mask!r:.60}")
    if tuple(mask.shape) != tuple(shape):
        raise ArgumentError(f"{name} has shape {tuple(mask.shape)}; it needs {tuple(shape)}, [pair, token]")
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ArgumentError(f"{name}: sentence {empty[0]} has no token that counts; leave the pair out")


def token_directions(
    tokens: Float[Tensor, "pair token width"], shortest: float
) -> Float[Tensor, "pair token width"]:
    """Scale each token to length 1; one without a direction becomes 0, as in `directions`."""
    return directions(tokens.flatten(0, 1), shortest).view_as(tokens)


def sentence_means(
    states: Float[Tensor, "pair *token width"], mask: Bool[Tensor, "pair token"] | None
) -> Float[Tensor, "pair width"]:
    """Compute the mean of each sentence's tokens that count; pooled states, without a mask, are their own."""
    if mask is None:
        return states
    counted = mask.unsqueeze(2)
    return states.masked_fill(~counted, 0.0).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
