"""RSA: whether sentences that are similar in one language are similar in the other."""

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from xalign.metrics.centred import check_states, quotient
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.jackknife import jackknife_values
from xalign.metrics.metric import Metric

_LEAST = 4


def rsa_per_pair(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair _"]
) -> Float[Tensor, " pair"]:
    """Return what each sentence adds to the representational similarity of two languages.

    RSA is Spearman's correlation of the n(n − 1)/2 dissimilarities 1 − cos within one language with those
    within the other. It needs no shared space: a rotation of one language leaves it as it is. Its value per
    sentence is that of `jackknife_values`, with the ranks of all sentences kept; their mean is the RSA.

    Args:
        pivot: States of the pivot, a row per sentence.
        other: States of their translations; the width may differ.

    Returns:
        A value per sentence. Their mean is in [−1, 1], and 0 where all dissimilarities of a side are equal.
        NaN where a sentence has no direction.

    Raises:
        ArgumentError: Different numbers of rows, or fewer than 4.

    Reference:
        Kriegeskorte, Mur and Bandettini (2008), Representational similarity analysis.

    Example:
        >>> states = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [5.0, 3.0], [1.0, 9.0]])
        >>> round(rsa_per_pair(states, 2 * states.flip(1)).mean().item(), 9)
        1.0
    """
    n = check_states(pivot, other, _LEAST)
    one, two = cosine_matrix(pivot, pivot), cosine_matrix(other, other)
    if bool(one.isnan().any() or two.isnan().any()):
        return torch.full((n,), torch.nan, dtype=torch.float64, device=pivot.device)
    a, b = _ranks(one), _ranks(two)
    of_rows = [(x * y).sum(dim=1) for x, y in ((a, b), (a, a), (b, b))]
    count = n * (n - 1) // 2
    # Each cell stands in two rows. Ranks are centred, so that the sums over all cells are 0.
    whole = _correlation(*(rows.sum() / 2 for rows in of_rows))
    mean_a, mean_b = -a.sum(dim=1), -b.sum(dim=1)  # sums of what is left without a sentence
    left = count - (n - 1)
    sums = zip(of_rows, ((mean_a, mean_b), (mean_a, mean_a), (mean_b, mean_b)), strict=True)
    without = _correlation(*(rows.sum() / 2 - rows - x * y / left for rows, (x, y) in sums))
    return jackknife_values(whole, without)


def rsa_chance(n: int) -> float:  # noqa: ARG001
    """Return the RSA expected where the order of the sentences of one side is random: 0.

    Example:
        >>> rsa_chance(100)
        0.0
    """
    return 0.0


def _ranks(similarity: Tensor) -> Tensor:
    """Return the ranks of the cells above the diagonal, centred, as a symmetric matrix with diagonal 0."""
    n = len(similarity)
    above = torch.triu_indices(n, n, offset=1)
    # The ranks of cosines are those of dissimilarities, turned round on both sides.
    ranks = torch.from_numpy(rankdata(similarity[above[0], above[1]].numpy(force=True)))
    found = torch.zeros(n, n, dtype=torch.float64)
    found[above[0], above[1]] = ranks - ranks.mean()
    return (found + found.T).to(similarity.device)


def _correlation(between: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
    return quotient(between, (of_a.clamp_min(0) * of_b.clamp_min(0)).sqrt())


RSA = Metric(
    "rsa",
    "Representational similarity",
    "hidden",
    rsa_per_pair,
    over="states",
    bounds=None,
    chance=rsa_chance,
    has_floor=False,
    unit="Spearman's correlation",
    least_pairs=_LEAST,
    definition=(
        "Whether sentences that are alike in one language are alike in the other: the correlation "
        "of both matrices of distances."
    ),
)
