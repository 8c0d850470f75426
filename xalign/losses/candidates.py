"""Candidates: all sentences among which a sentence must pick its translation, as directions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.losses.direction import centred_directions, directions, shortest_of
from xalign.losses.gather import gathered
from xalign.losses.similarity import check_marks, checked_sides, cosines, is_same

Direction = Literal["to_pivot", "from_pivot", "both"]
DIRECTIONS: tuple[Direction, ...] = ("to_pivot", "from_pivot", "both")


@dataclass(frozen=True, slots=True)
class Picks:
    """One side's choices: the cosines of its own sentences with all candidates of the other side.

    Attributes:
        cosines: Of this process's sentences with all candidates.
        hidden: True at candidates that are neither the translation nor a negative.
        targets: Per sentence, the candidate that is its translation.
    """

    cosines: Float[Tensor, "own candidate"]
    hidden: Bool[Tensor, "own candidate"]
    targets: Int[Tensor, " own"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The sides of all processes as directions, and the rows that are this process's own.

    Further pivot sentences come after the pivot's own.
    """

    language: Float[Tensor, "candidate width"]
    pivots: Float[Tensor, "pivot width"]
    same: Int[Tensor, "candidate *mark"]
    own: slice

    def picks(self, direction: Direction) -> Iterator[Picks]:
        """Yield what each side that picks has to choose from."""
        own = self.own
        targets = torch.arange(own.start, own.stop, device=self.language.device)
        # A pair with the same meaning is not a negative; the pair itself stays.
        hidden = is_same(self.same[own], self.same).scatter(1, targets.unsqueeze(1), False)
        if direction != "from_pivot":
            shown = hidden.new_zeros(len(hidden), len(self.pivots) - len(self.language))
            among = torch.cat([hidden, shown], dim=1)
            yield Picks(cosines(self.language[own], self.pivots), among, targets)
        if direction != "to_pivot":
            yield Picks(cosines(self.pivots[own], self.language), hidden, targets)


def candidates_of(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    direction: Direction,
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    extra: Float[Tensor, "extra width"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
    temperature: float = 1.0,
) -> Candidates:
    """Check both sides and the options, and return the directions of all candidates.

    The arguments are those of `contrastive`; `temperature` decides which vectors are too short for a
    direction.

    Raises:
        ArgumentError: As in `contrastive`.
    """
    sides = checked_sides(language, pivot)
    _check_options(pivot, direction, languages, same, extra)
    given = (language, pivot) if extra is None else (language, pivot, extra)
    shortest = shortest_of(*given, temperature=temperature)
    language, pivot = sides
    if detach_pivot:
        pivot, extra = pivot.detach(), None if extra is None else extra.detach()
    return _joined(language, pivot, languages, same, extra, gather, shortest)


def _joined(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    languages: Int[Tensor, " pair"] | None,
    same: Int[Tensor, "pair *mark"] | None,
    extra: Float[Tensor, "extra width"] | None,
    gather: bool,
    shortest: float,
) -> Candidates:
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
    return Candidates(sentences, pivots, same, slice(first, first + n))


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
