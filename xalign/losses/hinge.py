"""Hinge loss: a translation must be nearer than other sentences by a margin, and no nearer than that."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.checks import boolean, positive
from xalign.losses.candidates import Direction, Picks, candidates_of
from xalign.losses.loss import Loss


def hinge(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    margin: float = 0.2,
    hardest: bool = False,
    direction: Direction = "both",
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Compute the mean over sentences and negatives of max(0, margin + cos(negative) − cos(translation)).

    Unlike in `contrastive`, pairs that are told apart by the margin no longer count. A sentence without
    negatives adds 0.

    Bounds: the loss lies in [0, 2 + margin]. Its gradient is within the bounds of
    `xalign.losses.contrastive` with τ = 1.

    Collapse: all vectors pointing one way give the margin, and a space that is spread out gives 0. But at a
    single point there is no gradient, and `hardest` is known to get stuck there from a bad start. The
    representations of all languages may become the same: `detach_pivot` and replayed text guard against that.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        margin: By how much the cosine of a translation should be higher, above 0.
        hardest: Count only the negative that is nearest, and not the mean over all.
        direction: Which side picks, as in `contrastive`, like all arguments below.
        languages: A number per pair, equal within a language, for centring.
        same: A number per pair, or several, equal for pairs with the same meaning.
        detach_pivot: Give the pivot side no gradient.
        gather: Take candidates from all processes.

    Raises:
        ArgumentError: As in `contrastive`, or a margin that is not above 0.

    Reference:
        Faghri et al. (2018), VSE++, for the hardest negative.

    Example:
        >>> aligned = torch.eye(4)
        >>> hinge(aligned, aligned).item(), round(hinge(aligned, aligned.flip(0)).item(), 3)
        (0.0, 0.533)
    """
    margin, hardest = positive("margin", margin), boolean("hardest", hardest)
    candidates = candidates_of(language, pivot, direction, languages, same, None, detach_pivot, gather)
    return torch.stack([_one_way(picks, margin, hardest) for picks in candidates.picks(direction)]).mean()


HINGE = Loss("hinge", hinge, needs_negatives=True)


def _one_way(picks: Picks, margin: float, hardest: bool) -> Float[Tensor, ""]:
    negative = ~picks.hidden.scatter(1, picks.targets.unsqueeze(1), True)
    own = picks.cosines.gather(1, picks.targets.unsqueeze(1))
    violated = (margin + picks.cosines - own).clamp(min=0).where(negative, 0.0)
    if hardest:
        return violated.amax(dim=1).mean()
    return (violated.sum(dim=1) / negative.sum(dim=1).clamp(min=1)).mean()
