"""What the losses share: checks of both sides, centring per language, cosines, and statistics for logs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from xalign.errors import ArgumentError, ArgumentTypeError


def checked_sides(
    language: Float[Tensor, "pair width"], pivot: Float[Tensor, "pair width"]
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Return both sides in float32 or a wider type.

    Raises:
        ArgumentError: Sides that are not [pair, width] or differ in shape.
        ArgumentTypeError: A side that is not a tensor of floating-point numbers.
    """
    for name, side in (("language", language), ("pivot", pivot)):
        if not isinstance(side, Tensor) or not side.is_floating_point():
            raise ArgumentTypeError(f"{name} must be a tensor of floating-point numbers, not {side!r:.60}")
    if language.dim() != 2 or language.shape != pivot.shape:
        raise ArgumentError(
            f"language and pivot must both be [pair, width]; they are {tuple(language.shape)} and "
            f"{tuple(pivot.shape)}"
        )
    dtype = torch.promote_types(language.dtype, torch.float32)
    return language.to(dtype), pivot.to(dtype)


def centred(
    vectors: Float[Tensor, "pair width"], groups: Int[Tensor, " pair"]
) -> Float[Tensor, "pair width"]:
    """Subtract from each vector the mean of its group, which mostly encodes the language.

    Args:
        vectors: One per sentence.
        groups: A number per sentence, equal for sentences of one language.

    Raises:
        ArgumentError: A group of one sentence, of which nothing would remain.
    """
    numbers, of, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    if bool((sizes < 2).any()):
        raise ArgumentError(
            f"languages has one pair of language {int(numbers[sizes < 2][0])}; centring needs at least 2 "
            "pairs of each language in a batch"
        )
    sums = vectors.new_zeros(len(numbers), vectors.shape[1]).index_add(0, of, vectors)
    means: Tensor = sums / sizes.unsqueeze(1)
    return vectors - means[of]


def cosines(
    rows: Float[Tensor, "row width"], columns: Float[Tensor, "column width"]
) -> Float[Tensor, "row column"]:
    """Compute the cosines of all rows with all columns, in full precision also under autocast.

    A cosine with a zero vector is 0.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return normalize(rows, dim=1) @ normalize(columns, dim=1).T


def is_same(
    rows: Int[Tensor, "row *mark"], columns: Int[Tensor, "column *mark"]
) -> Bool[Tensor, "row column"]:
    """Tell which pairs have a mark in common: they have the same meaning, and are not negatives."""
    equal = rows.unsqueeze(1) == columns.unsqueeze(0)
    return equal if equal.dim() == 2 else equal.flatten(2).any(dim=2)


def check_marks(name: str, marks: Int[Tensor, "pair *mark"] | None, pairs: int) -> None:
    """Raise an error where the marks of pairs are not whole numbers, one row per pair."""
    if marks is None:
        return
    if not isinstance(marks, Tensor) or marks.is_floating_point():
        raise ArgumentTypeError(f"{name} must be a tensor of whole numbers, not {marks!r:.60}")
    if not marks.dim() or len(marks) != pairs:
        raise ArgumentError(f"{name} has shape {tuple(marks.shape)}; it needs a row per pair, {pairs}")


@dataclass(frozen=True, slots=True)
class InBatch:
    """How well the pairs of a batch are distinguished, for logs.

    Attributes:
        accuracy: Per pair, 1 where the sentence's nearest pivot sentence is its own translation, else 0.
            Chance is 1 / pairs. 0 for a pair without negatives.
        positive: Per pair, the cosine of its two sides.
        negative: Per pair, its mean cosine with its negatives; 0 for a pair without negatives.
    """

    accuracy: Float[Tensor, " pair"]
    positive: Float[Tensor, " pair"]
    negative: Float[Tensor, " pair"]


@torch.no_grad()
def in_batch(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
) -> InBatch:
    """Compute the accuracy of a batch as the contrastive loss sees it, and mean cosines without centring.

    Read them together: accuracy saturates early, and positive and negative cosines that rise side by side
    mean a collapse.

    Args:
        language: One vector per sentence.
        pivot: One vector per pivot sentence.
        languages: As in `contrastive`.
        same: As in `contrastive`.
    """
    language, pivot = checked_sides(language, pivot)
    plain = similarity = cosines(language, pivot)
    if languages is not None:
        similarity = cosines(centred(language, languages), centred(pivot, torch.zeros_like(languages)))
    own = torch.arange(len(similarity), device=similarity.device)
    marks = own if same is None else same
    negative = ~is_same(marks, marks)
    others = similarity.masked_fill(~negative, -torch.inf).amax(dim=1)
    count = negative.sum(dim=1).clamp(min=1)
    return InBatch(
        accuracy=((similarity.diagonal() > others) & negative.any(dim=1)).to(similarity.dtype),
        positive=plain.diagonal(),
        negative=plain.masked_fill(~negative, 0.0).sum(dim=1) / count,
    )
