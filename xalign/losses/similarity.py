"""What the losses share: checks of both sides, cosines, and statistics for logs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.autocast import without_autocast
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.direction import centred_directions, directions


def checked_sides(
    language: Float[Tensor, "pair width"], pivot: Float[Tensor, "pair width"]
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Return both sides in float32 or a wider type.

    Raises:
        ArgumentError: Sides that are not [pair, width], differ in shape, or have width 0.
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
    if not language.shape[1]:
        raise ArgumentError("language and pivot have width 0; give at least one coordinate")
    dtype = torch.promote_types(language.dtype, torch.float32)
    return language.to(dtype), pivot.to(dtype)


def cosines(
    rows: Float[Tensor, "row width"], columns: Float[Tensor, "column width"]
) -> Float[Tensor, "row column"]:
    """Compute the cosines of directions, vectors of length 1 or 0, in full precision also under autocast."""
    return without_autocast(rows.device.type, torch.matmul, rows, columns.T)


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
    plain = similarity = cosines(directions(language), directions(pivot))
    if languages is not None:
        similarity = cosines(centred_directions(language, languages), centred_directions(pivot))
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
