"""Collapse: whether states still tell sentences apart, however well translations match."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.metrics.metric import Metric
from xalign.metrics.weak_alignment import check_pairs


def others_cosine(similarity: Float[Tensor, "pair pair"]) -> Float[Tensor, " pair"]:
    """Return the mean cosine of each sentence with the sentences that are not its translation, in [−1, 1].

    It nears 1 where all states point the same way. Weak alignment does not show that, since it compares
    cosines with one another only.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.

    Raises:
        ArgumentError: Fewer than 2 pairs.

    Example:
        >>> others_cosine(torch.tensor([[1., .5, .25], [.5, 1., .0], [.25, .0, 1.]])).tolist()
        [0.375, 0.25, 0.125]
    """
    n = check_pairs(similarity)
    both = similarity + similarity.T
    return (both.sum(dim=1) - 2 * similarity.diagonal()) / (2 * (n - 1))


def effective_rank(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return the number of directions over which the states of a language spread, the same for every pair.

    It is the exponential of the entropy of the squared singular values of the centred states, from 1 (all
    on one line) to min(pair − 1, width).

    Args:
        pivot: The states of the pivot, which are not used.
        other: The states of the language.

    Reference:
        Roy and Vetterli (2007), The effective rank; of squared singular values, as variances.

    Example:
        >>> states = torch.tensor([[1., 0.], [-1., 0.], [0., 1.], [0., -1.]])
        >>> effective_rank(states, states).tolist()
        [2.0, 2.0, 2.0, 2.0]
    """
    centred = other.double() - other.double().mean(dim=0)
    variances = torch.linalg.svdvals(centred).square()
    shares = variances / variances.sum().clamp_min(torch.finfo(torch.float64).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum()
    rank: Tensor = entropy.exp().float()
    return rank.expand(len(pivot))


OTHERS_COSINE = Metric(
    "others_cosine",
    "Cosine of others",
    "hidden",
    others_cosine,
    bounds=(-1.0, 1.0),
    has_floor=False,
    unit="cosine",
    higher_is_better=False,
)
EFFECTIVE_RANK = Metric(
    "effective_rank",
    "Effective rank",
    "hidden",
    effective_rank,
    over="states",
    bounds=None,
    has_floor=False,
    unit="directions",
)
