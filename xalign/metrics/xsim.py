"""Margin retrieval (xsim): nearest sentences, scored by their margin over the neighbourhood."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric
from xalign.metrics.neighbours import nearest, neighbourhood
from xalign.metrics.retrieval import retrieval_chance
from xalign.metrics.weak_alignment import check_pairs

NEIGHBOURS = 4
Margin = Literal["ratio", "distance", "absolute"]


def margin_retrieval(
    similarity: Float[Tensor, "pair pair"], *, k: int = NEIGHBOURS, margin: Margin = "ratio"
) -> Bool[Tensor, " pair"]:
    """Return the bits of retrieval from the pivot by margin. 1 − their mean is the error rate xsim.

    The candidates of a sentence are its k nearest ones by cosine. Each is scored by c / ((a_i + a_j) / 2)
    (`"ratio"`), c − (a_i + a_j) / 2 (`"distance"`) or c (`"absolute"`), where a is the mean cosine of a
    sentence with its k nearest ones of the other language. The bit is 1 iff the best candidate, the nearest
    of equal ones, is the translation.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.
        k: The number of neighbours.
        margin: How a candidate is scored.

    Returns:
        One bit per pair; 0 for a sentence without a direction.

    Raises:
        ArgumentError: Fewer than k pairs, or another margin.

    Reference:
        Artetxe and Schwenk (2019), Margin-based parallel corpus mining; xsim of LASER has k = 4.

    Example:
        >>> margin_retrieval(torch.tensor([[.9, .8], [.8, .1]]), k=2).tolist()
        [False, False]
        >>> margin_retrieval(torch.tensor([[.9, .8], [.8, .1]]), k=2, margin="absolute").tolist()
        [True, False]
    """
    n = check_pairs(similarity)
    known = similarity.double().nan_to_num(nan=-1.0)
    candidates = nearest(known, k)
    cosines = known.gather(1, candidates)
    mean = (neighbourhood(known, k)[:, None] + neighbourhood(known.T, k)[candidates]) / 2
    if margin not in ("ratio", "distance", "absolute"):
        raise ArgumentError(f"margin={margin!r:.60} must be 'ratio', 'distance' or 'absolute'")
    scores = {"ratio": cosines / mean, "distance": cosines - mean, "absolute": cosines}[margin]
    # 0 / 0, of sentences that share nothing with anything, is no success.
    undefined = scores.isnan() | similarity.gather(1, candidates).isnan()
    scores = torch.round(scores, decimals=12).masked_fill(undefined, -torch.inf)
    best = scores.argmax(dim=1, keepdim=True)
    is_right = candidates.gather(1, best)[:, 0] == torch.arange(n, device=similarity.device)
    return is_right & (scores.gather(1, best)[:, 0] > -torch.inf)


def xsim_from_pivot(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return `margin_retrieval` with the ratio and 4 neighbours, as in LASER.

    Raises:
        ArgumentError: Fewer than 4 pairs.

    Example:
        >>> xsim_from_pivot(torch.eye(4)).all().item()
        True
    """
    return margin_retrieval(similarity)


def xsim_to_pivot(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return the bits of the other direction: those of the transposed matrix.

    Example:
        >>> xsim_to_pivot(torch.eye(4)).all().item()
        True
    """
    return margin_retrieval(similarity.T)


XSIM = Metric(
    "xsim",
    "Margin retrieval",
    "hidden",
    chance=retrieval_chance,
    parts={"xsim_from_pivot": xsim_from_pivot, "xsim_to_pivot": xsim_to_pivot},
    unit="share of pairs",
    least_pairs=NEIGHBOURS,
    definition=(
        "Retrieval with each cosine divided by the mean cosine of either sentence with its 4 "
        "nearest neighbours, as in LASER: 1 less the xsim error."
    ),
)
