"""`Choice`: how many of all units are chosen for a label."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError

DEFAULT_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Choice:
    """How many units to choose by their scores.

    Attributes:
        by: `"share"` of all units, their number `"k"`, or the `"threshold"` that their scores reach.
        amount: The share, number or threshold.

    Example:
        >>> choose_by(k=2).best(torch.tensor([0.3, 0.9, 0.5])).tolist()
        [1, 2]
    """

    by: Literal["share", "k", "threshold"]
    amount: float

    def best(self, score: Float[Tensor, " unit"]) -> Int[Tensor, " chosen"]:
        """Return the indices of the units chosen, best first; of equal scores the lower index."""
        if self.by == "threshold":
            return _ranked(score, (score >= self.amount).nonzero().squeeze(1))
        count = int(self.amount) if self.by == "k" else round(self.amount * len(score))
        if count >= len(score) or not count:
            return _ranked(score, torch.arange(len(score)))[:count]
        # Very many units are not sorted, only those that are chosen.
        last = score.kthvalue(len(score) - count + 1).values
        above, ties = ((score > last).nonzero().squeeze(1), (score == last).nonzero().squeeze(1))
        return torch.cat([_ranked(score, above), ties[: count - len(above)]])

    def __str__(self) -> str:
        """Return the argument, as the user wrote it."""
        return f"{self.by}={self.amount}"


def _ranked(score: Float[Tensor, " unit"], units: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
    """Return units in the order of their scores, best first; of equal scores the lower index."""
    return units[score[units].sort(descending=True, stable=True).indices]


def choose_by(*, share: float | None = None, k: int | None = None, threshold: float | None = None) -> Choice:
    """Check these arguments, of which at most one is given, and return the choice; .02 of all by default.

    Raises:
        ArgumentError: More than one of them, a share outside (0, 1], `k` below 1, a threshold that is not
            above 0.
    """
    if sum(one is not None for one in (share, k, threshold)) > 1:
        ways = {"share": share, "k": k, "threshold": threshold}
        given = [name for name, amount in ways.items() if amount is not None]
        raise ArgumentError(f"give one of share, k and threshold, not {' and '.join(given)}")
    if k is not None:
        return Choice("k", whole_number("k", k, least=1))
    if threshold is not None:
        return Choice("threshold", positive("threshold", threshold))
    share = positive("share", DEFAULT_SHARE if share is None else share)
    if share > 1:
        raise ArgumentError(f"share={share} must be at most 1")
    return Choice("share", share)
