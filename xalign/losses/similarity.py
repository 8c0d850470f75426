"""What the losses share: checked sides, centring per language, cosines, and what is logged of a batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from xalign.errors import ArgumentError, ArgumentTypeError


def checked_sides(
    language: Float[Tensor, "pair width"], pivot: Float[Tensor, "pair width"]
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Both sides, in float32 at least, or an error where they are no pairs."""
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
    """The vectors without the mean of their group, which says what language a sentence is in.

    Args:
        vectors: One per sentence.
        groups: A number per sentence, equal for sentences of one language.

    Raises:
        ArgumentError: A group of one sentence, of which nothing would be left.
    """
    numbers, of, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    if bool((sizes < 2).any()):
        raise ArgumentError(
            f"languages has one pair of language {int(numbers[sizes < 2][0])}; centring takes at least 2 "
            "pairs of each language in a batch"
        )
    sums = vectors.new_zeros(len(numbers), vectors.shape[1]).index_add(0, of, vectors)
    means: Tensor = sums / sizes.unsqueeze(1)
    return vectors - means[of]


def cosines(
    rows: Float[Tensor, "row width"], columns: Float[Tensor, "column width"]
) -> Float[Tensor, "row column"]:
    """Cosines of all rows with all columns, as precise under autocast; 0 where a vector is zero."""
    with torch.autocast(rows.device.type, enabled=False):
        return normalize(rows, dim=1) @ normalize(columns, dim=1).T


def is_same(
    rows: Int[Tensor, "row *mark"], columns: Int[Tensor, "column *mark"]
) -> Bool[Tensor, "row column"]:
    """Which pairs are of one meaning, and so no negatives: those with a mark in common."""
    equal = rows.unsqueeze(1) == columns.unsqueeze(0)
    return equal if equal.dim() == 2 else equal.flatten(2).any(dim=2)


def check_marks(name: str, marks: Int[Tensor, "pair *mark"] | None, pairs: int) -> None:
    """An error where what is told of each pair is not whole numbers, one row per pair."""
    if marks is None:
        return
    if not isinstance(marks, Tensor) or marks.is_floating_point():
        raise ArgumentTypeError(f"{name} must be a tensor of whole numbers, not {marks!r:.60}")
    if not marks.dim() or len(marks) != pairs:
        raise ArgumentError(f"{name} has shape {tuple(marks.shape)}; it takes a row per pair, {pairs}")


@dataclass(frozen=True, slots=True)
class InBatch:
    """How well a batch's pairs are told apart, for logs.

    Attributes:
        accuracy: Per pair, 1 where the sentence's nearest pivot sentence is its own, chance 1 / pairs; 0
            without any negative.
        positive: Per pair, the cosine of its two sides.
        negative: Per pair, its mean cosine with its negatives; 0 without any.
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
    """Accuracy of a batch as the contrastive loss sees it, and mean cosines as they are, not centred.

    Read them together: accuracy saturates early, and positive and negative cosines that rise side by side are
    a collapse.

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
