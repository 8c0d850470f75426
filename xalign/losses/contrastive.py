"""Contrastive loss: each sentence must pick its translation out of the batch.

Loss and gradients of finite vectors are finite. With C candidates the loss lies in [0, 2/τ + log C]. In one
process, and with at least two pairs, the gradient at a vector of length r is at most

- 1 / (τ · r) long, where vectors are compared as they are;
- 2 / (τ · r) long, where they are centred, with the shortest r of what is left of the vectors of its side.

Vectors without a direction do not count there: their cosines are 0, and so is their gradient. These are
vectors of length up to 1e-12, in float16 up to 2 / (65504 τ), and those of which centring leaves nothing but
the rounding of the mean, as of equal vectors.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from xalign.errors import ArgumentError
from xalign.losses.direction import centred_directions, checked_temperature, directions, shortest_of
from xalign.losses.gather import gathered
from xalign.losses.loss import Loss
from xalign.losses.similarity import check_marks, checked_sides, cosines, is_same

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
    against that. Bounds of loss and gradients stand at the top of this file.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        temperature: τ, at least 1e-4; the lower it is, the more the hardest negatives count.
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
    temperature = checked_temperature(temperature)
    sides = checked_sides(language, pivot)
    _check_options(pivot, direction, languages, same, extra)
    given = (language, pivot) if extra is None else (language, pivot, extra)
    shortest = shortest_of(*given, temperature=temperature)
    language, pivot = sides
    if detach_pivot:
        pivot, extra = pivot.detach(), None if extra is None else extra.detach()
    batch = _candidates(language, pivot, languages, same, extra, gather, shortest)
    return _info_nce(batch, temperature, direction)


CONTRASTIVE = Loss("contrastive", contrastive, needs_negatives=True)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The sides of all processes as directions, and the rows that are this process's own.

    Further pivot sentences stand behind the pivot's own.
    """

    language: Float[Tensor, "candidate width"]
    pivots: Float[Tensor, "pivot width"]
    same: Int[Tensor, "candidate *mark"]
    own: slice


def _candidates(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    languages: Int[Tensor, " pair"] | None,
    same: Int[Tensor, "pair *mark"] | None,
    extra: Float[Tensor, "extra width"] | None,
    gather: bool,
    shortest: float,
) -> _Candidates:
    n, first = len(language), 0
    if gather:
        language, first = gathered(language)
        pivot, _ = gathered(pivot)
        languages = None if languages is None else gathered(languages)[0]
        same = None if same is None else gathered(same)[0]
    same = torch.arange(len(pivot), device=pivot.device) if same is None else same
    extra = None if extra is None else extra.to(pivot.dtype)
    if not n or len(pivot) + (0 if extra is None else len(extra)) < 2:
        raise ArgumentError(
            "the batch has one pair, so there is no negative to compare it with; give at least 2"
        )
    if languages is not None:
        sentences = centred_directions(language, languages, shortest=shortest)
        pivots = centred_directions(pivot, extra=extra, shortest=shortest)
    else:
        sentences = directions(language, shortest)
        pivots = directions(pivot if extra is None else torch.cat([pivot, extra]), shortest)
    return _Candidates(sentences, pivots, same, slice(first, first + n))


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
        shown = hidden.new_zeros(len(hidden), len(batch.pivots) - len(batch.language))
        losses.append(pick(batch.language, batch.pivots, torch.cat([hidden, shown], dim=1)))
    if direction != "to_pivot":
        losses.append(pick(batch.pivots, batch.language, hidden))
    return torch.stack(losses).mean()


def _check_options(
    pivot: Float[Tensor, "pair width"],
    direction: Direction,
    languages: Int[Tensor, " pair"] | None,
    same: Int[Tensor, "pair *mark"] | None,
    extra: Float[Tensor, "extra width"] | None,
) -> None:
    if direction not in DIRECTIONS:
        raise ArgumentError(f"direction={direction!r} must be one of {', '.join(DIRECTIONS)}")
    if extra is not None and direction == "from_pivot":
        raise ArgumentError(
            "extra holds pivot sentences, and direction='from_pivot' has no pivot sentences as candidates; "
            "choose another direction, or leave extra out"
        )
    check_marks("languages", languages, len(pivot))
    check_marks("same", same, len(pivot))
    if extra is None:
        return
    if not extra.is_floating_point() or extra.dim() != 2 or extra.shape[1] != pivot.shape[1]:
        raise ArgumentError(
            f"extra must be [sentence, {pivot.shape[1]}] of floating-point numbers, like pivot; it is "
            f"{tuple(extra.shape)} of {extra.dtype}"
        )
