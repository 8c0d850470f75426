"""DALI: whether the options of test items are nearest to their translations. MEXA-T: whether contexts are."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric
from xalign.metrics.weak_alignment import weak_alignment, weak_alignment_chance


def dali(
    pivot: Float[Tensor, "item option width"], other: Float[Tensor, "item option width"]
) -> Bool[Tensor, " item"]:
    """Return per item whether every option is nearer to its translation than any option to a wrong one.

    The bit is 1 iff the smallest of the K cosines of option k with its translation is strictly greater than
    the largest of the K (K − 1) cosines of options that do not translate one another. Ties give 0, and so
    does an option without a direction.

    Args:
        pivot: States of context and option, for each option of each item, in the pivot.
        other: The same for the other language.

    Raises:
        ArgumentError: Fewer than 2 options.

    Reference:
        Ravisankar, Han and Carpuat (2025), arXiv 2504.09378.

    Example:
        >>> pivot = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> dali(pivot, pivot).tolist(), dali(pivot, pivot.flip(1)).tolist()
        ([True], [False])
    """
    matched, mismatched = _across(pivot, other)
    return matched > mismatched


def dali_strong(
    pivot: Float[Tensor, "item option width"], other: Float[Tensor, "item option width"]
) -> Bool[Tensor, " item"]:
    """Return the bits of `dali` where options must also be nearer to their translations than to one another.

    The cosines of two options within the pivot, and of two within the other language, are among those that
    must be smaller. So strong implies plain.

    Example:
        >>> pivot = torch.tensor([[[1.0, 0.1], [0.1, 1.0]]])
        >>> other = torch.tensor([[[1.0, -0.9], [-0.9, 1.0]]])
        >>> dali(pivot, other).tolist(), dali_strong(pivot, other).tolist()
        ([True], [True])
        >>> near = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
        >>> dali(near, other).tolist(), dali_strong(near, other).tolist()
        ([True], [False])
    """
    matched, mismatched = _across(pivot, other)
    within = [_cosines(side, side).flatten(1)[:, ~_diagonal(side)].amax(dim=1) for side in (pivot, other)]
    return (matched > mismatched) & (matched > within[0]) & (matched > within[1])


def dali_chance(options: int, *, strong: bool = False) -> float:
    """Return the share of items that are aligned if all cosines are independent: 1/6 for two options.

    All K matched cosines must be the largest K of all that are compared: K! M! / (K + M)!, where M counts the
    others, K (K − 1), and twice as many for the strong form.

    Example:
        >>> round(dali_chance(2), 6), round(dali_chance(4), 6), round(dali_chance(2, strong=True), 6)
        (0.166667, 0.000549, 0.066667)
    """
    others = options * (options - 1) * (2 if strong else 1)
    return 1 / math.comb(options + others, options)


def dali_null(
    pivot: Float[Tensor, "item option width"], other: Float[Tensor, "item option width"]
) -> Float[Tensor, " item"]:
    """Return `dali_chance` of each item.

    Example:
        >>> dali_null(torch.ones(1, 2, 3), torch.ones(1, 2, 3))
        tensor([0.1667], dtype=torch.float64)
    """
    return torch.full((len(pivot),), dali_chance(other.shape[1]), dtype=torch.float64)


def dali_strong_null(
    pivot: Float[Tensor, "item option width"], other: Float[Tensor, "item option width"]
) -> Float[Tensor, " item"]:
    """Return `dali_chance` of each item for the strong form.

    Example:
        >>> dali_strong_null(torch.ones(1, 2, 3), torch.ones(1, 2, 3))
        tensor([0.0667], dtype=torch.float64)
    """
    return torch.full((len(pivot),), dali_chance(other.shape[1], strong=True), dtype=torch.float64)


def _across(pivot: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest matched and the largest mismatched cosine of each item. NaN loses."""
    if pivot.shape[1] < 2:  # noqa: PLR2004
        raise ArgumentError(f"items have {pivot.shape[1]} option(s); at least 2 are needed")
    cosines = _cosines(pivot, other)
    matched = cosines.diagonal(dim1=1, dim2=2).amin(dim=1)
    return matched, cosines.flatten(1)[:, ~_diagonal(pivot)].amax(dim=1)


def _cosines(one: Tensor, two: Tensor) -> Tensor:
    one, two = (side.double() / side.double().norm(dim=2, keepdim=True) for side in (one, two))
    return torch.round(one @ two.transpose(1, 2), decimals=12)  # as in `cosine_matrix`: equal vectors tie


def _diagonal(states: Tensor) -> Tensor:
    return torch.eye(states.shape[1], dtype=torch.bool, device=states.device).flatten()


DALI = Metric(
    "dali",
    "Item alignment (DALI)",
    "hidden",
    dali,
    over="options",
    has_floor=False,
    null=dali_null,
    unit="share of items",
    definition=(
        "The share of items in which every answer option is nearer to its own translation than to "
        "that of another option."
    ),
)
DALI_STRONG = Metric(
    "dali_strong",
    "Item alignment (strong DALI)",
    "hidden",
    dali_strong,
    over="options",
    has_floor=False,
    null=dali_strong_null,
    unit="share of items",
    definition=("As DALI, where options must also be nearer to their translations than to one another."),
)
MEXA_T = Metric(
    "mexa_t",
    "Context alignment (MEXA-T)",
    "hidden",
    weak_alignment,
    over="contexts",
    chance=weak_alignment_chance,
    unit="share of items",
    definition=(
        "The share of items whose contexts are nearest to their translations from both sides, as in MEXA."
    ),
)
