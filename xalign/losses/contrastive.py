"""Contrastive loss: each sentence must pick its translation out of the batch."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from xalign.errors import ArgumentError
from xalign.losses.gather import gathered
from xalign.losses.loss import Loss
from xalign.losses.similarity import centred, check_marks, checked_sides, cosines, is_same

Direction = Literal["to_pivot", "from_pivot", "both"]
DIRECTIONS: tuple[Direction, ...] = ("to_pivot", "from_pivot", "both")


def contrastive(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    temperature: float = 0.05,
    direction: Direction = "both",
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    extra: Float[Tensor, "extra width"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Compute InfoNCE over the pairs of a batch.

    With s_ij = cos(language_i, pivot_j) / τ, `to_pivot` is the mean over i of −s_ii + log Σ_j exp(s_ij),
    `from_pivot` is the same with the two sides swapped, and `both` is the mean of the two. At random the loss
    is about the logarithm of the number of candidates; at best it is 0. If all vectors point one way, it is
    that logarithm too, so collapse to a point is not a minimum. But the representations of all languages may
    become the same, and the model may forget how to write them: `detach_pivot` and replayed text guard
    against that.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        temperature: τ > 0; the lower it is, the more the hardest negatives count.
        direction: Which side picks its translation among candidates of the other.
        languages: A number per pair, equal within a language. If given, the mean over the batch is first
            subtracted from each language's vectors and from the pivot's, because it mostly encodes the
            language.
        same: A number per pair, equal for pairs with the same meaning, which are then not each other's
            negatives. Or several numbers per pair; one in common is enough.
        extra: Further pivot sentences, negatives for every sentence in direction `to_pivot`.
        detach_pivot: Give the pivot side no gradient: the languages move, and the pivot stays.
        gather: Take candidates from all processes. Each process's loss is over its own sentences; the mean
            over processes, which data-parallel training takes of gradients, is that of the whole batch.

    Raises:
        ArgumentError: Sides of different shapes, fewer than 2 candidates, or an option that is not allowed.

    Reference:
        Liu and Niehues (2025), Middle-Layer Representation Alignment, §3.2: `to_pivot` with τ = 0.1.
        Feng et al. (2022), LaBSE, for both directions and candidates of all devices.

    Example:
        >>> aligned = torch.eye(4)
        >>> contrastive(aligned, aligned).item() < 0.001
        True
    """
    language, pivot = checked_sides(language, pivot)
    _check_options(pivot, temperature, direction, languages, same, extra)
    if detach_pivot:
        pivot, extra = pivot.detach(), None if extra is None else extra.detach()
    batch = _candidates(language, pivot, languages, same, extra, gather)
    return _info_nce(batch, temperature, direction)


CONTRASTIVE = Loss("contrastive", contrastive, needs_negatives=True)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The sides of all processes, centred where asked for, and the rows that are this process's own."""

    language: Float[Tensor, "candidate width"]
    pivot: Float[Tensor, "candidate width"]
    extra: Float[Tensor, "extra width"]
    same: Int[Tensor, "candidate *mark"]
    own: slice


def _candidates(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    languages: Int[Tensor, " pair"] | None,
    same: Int[Tensor, "pair *mark"] | None,
    extra: Float[Tensor, "extra width"] | None,
    gather: bool,
) -> _Candidates:
    n, first = len(language), 0
    if gather:
        language, first = gathered(language)
        pivot, _ = gathered(pivot)
        languages = None if languages is None else gathered(languages)[0]
        same = None if same is None else gathered(same)[0]
    same = torch.arange(len(pivot), device=pivot.device) if same is None else same
    extra = pivot.new_zeros(0, pivot.shape[1]) if extra is None else extra
    if len(pivot) + len(extra) < 2:
        raise ArgumentError(
            "the batch has one pair, so there is no negative to compare it with; give at least 2"
        )
    if languages is not None:
        middle = pivot.mean(dim=0)
        language, pivot, extra = centred(language, languages), pivot - middle, extra - middle
    return _Candidates(language, pivot, extra.to(pivot.dtype), same, slice(first, first + n))


def _info_nce(batch: _Candidates, temperature: float, direction: Direction) -> Float[Tensor, ""]:
    own = batch.own
    targets = torch.arange(own.start, own.stop, device=batch.language.device)
    # A pair with the same meaning is not a negative; the pair itself stays.
    hidden = is_same(batch.same[own], batch.same).scatter(1, targets.unsqueeze(1), False)

    def pick(anchors: Tensor, candidates: Tensor, hidden: Tensor) -> Tensor:
        scores = (cosines(anchors[own], candidates) / temperature).masked_fill(hidden, -torch.inf)
        return cross_entropy(scores, targets)

    losses = []
    if direction != "from_pivot":
        shown = hidden.new_zeros(len(hidden), len(batch.extra))
        pivots = torch.cat([batch.pivot, batch.extra]) if len(batch.extra) else batch.pivot
        losses.append(pick(batch.language, pivots, torch.cat([hidden, shown], dim=1)))
    if direction != "to_pivot":
        losses.append(pick(batch.pivot, batch.language, hidden))
    return torch.stack(losses).mean()


def _check_options(
    pivot: Float[Tensor, "pair width"],
    temperature: float,
    direction: Direction,
    languages: Int[Tensor, " pair"] | None,
    same: Int[Tensor, "pair *mark"] | None,
    extra: Float[Tensor, "extra width"] | None,
) -> None:
    if not temperature > 0:
        raise ArgumentError(f"temperature={temperature!r} must be above 0, like 0.05")
    if direction not in DIRECTIONS:
        raise ArgumentError(f"direction={direction!r} must be one of {', '.join(DIRECTIONS)}")
    if extra is not None and direction == "from_pivot":
        raise ArgumentError(
            "extra holds pivot sentences, and direction='from_pivot' has no pivot sentences as candidates; "
            "choose another direction, or leave extra out"
        )
    check_marks("languages", languages, len(pivot))
    check_marks("same", same, len(pivot))
    if extra is not None and (extra.dim() != 2 or extra.shape[1] != pivot.shape[1]):
        raise ArgumentError(
            f"extra must be [sentence, {pivot.shape[1]}] like pivot; it is {tuple(extra.shape)}"
        )
