"""Hubness: whether a few sentences are near to everything, and many near to nothing."""

import torch
from jaxtyping import Bool, Float
from scipy.stats import binom
from torch import Tensor

from xalign.metrics.metric import Metric
from xalign.metrics.neighbours import nearest

NEIGHBOURS = 10


def occurrences(similarity: Float[Tensor, "pair pair"], k: int = NEIGHBOURS) -> Float[Tensor, " pair"]:
    """Return N_k per sentence: how many pivot sentences have it among their k nearest ones.

    They sum to k times the number of pairs. Where several are equally near, the first ones count.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.
        k: The number of neighbours.

    Raises:
        ArgumentError: Fewer than k pairs.

    Reference:
        Radovanović, Nanopoulos and Ivanović (2010), Hubs in space.

    Example:
        >>> occurrences(torch.tensor([[.9, .1], [.8, .2]]), k=1).tolist()
        [2.0, 0.0]
    """
    counts = torch.bincount(nearest(similarity, k).flatten(), minlength=similarity.shape[1]).double()
    # A sentence without a direction has no neighbours: there is no answer.
    return counts.masked_fill(similarity.isnan().any(), torch.nan)


def hub_skewness(similarity: Float[Tensor, "pair pair"], k: int = NEIGHBOURS) -> Float[Tensor, " pair"]:
    """Return ((N_k − k) / σ)³ per sentence. The mean is the skewness of N_k, above 0 where there are hubs.

    Example:
        >>> hub_skewness(torch.tensor([[.9, .1, .2], [.8, .2, .1], [.8, .1, .2]]), k=1).mean().item() > 0.7
        True
    """
    counts = occurrences(similarity, k)
    apart = counts - k
    spread = apart.square().mean().sqrt()
    return torch.where(spread == 0, apart, apart / spread) ** 3


def anti_hubs(similarity: Float[Tensor, "pair pair"], k: int = NEIGHBOURS) -> Bool[Tensor, " pair"]:
    """Return, per sentence, whether no pivot sentence has it among its k nearest.

    Raises:
        ArgumentError: Fewer than k pairs, or NaN in the matrix.

    Example:
        >>> anti_hubs(torch.tensor([[.9, .1], [.8, .2]]), k=1).tolist()
        [False, True]
    """
    return occurrences(similarity, k) == 0


def robin_hood(similarity: Float[Tensor, "pair pair"], k: int = NEIGHBOURS) -> Float[Tensor, " pair"]:
    """Return |N_k − k| / 2k per sentence. The mean is the Robin Hood index.

    It is the share of all neighbours that would have to be redistributed for all sentences to be neighbours
    equally often: from 0 to 1 − k/n.

    Reference:
        Feldbauer and Flexer (2019), A comprehensive empirical comparison of hubness reduction.

    Example:
        >>> robin_hood(torch.tensor([[.9, .1], [.8, .2]]), k=1).mean().item()
        0.5
    """
    return (occurrences(similarity, k) - k).abs() / (2 * k)


def skewness_chance(n: int, k: int = NEIGHBOURS) -> float:
    """Return the skewness of N_k where every sentence has k of n neighbours at random: a binomial's.

    Example:
        >>> round(skewness_chance(100), 4)
        0.2667
    """
    return float(binom(n, k / n).stats("s")) if n > k else 0.0


def anti_hub_chance(n: int, k: int = NEIGHBOURS) -> float:
    """Return the share of anti-hubs where every sentence has k of n neighbours at random: (1 − k/n)ⁿ.

    Example:
        >>> round(anti_hub_chance(100), 6)
        2.7e-05
    """
    return float((1 - k / n) ** n)


def robin_hood_chance(n: int, k: int = NEIGHBOURS) -> float:
    """Return the Robin Hood index where every sentence has k of n neighbours at random.

    Example:
        >>> round(robin_hood_chance(100), 2)
        0.12
    """
    return float(binom(n, k / n).expect(lambda count: abs(count - k))) / (2 * k)


HUB_SKEWNESS = Metric(
    "hub_skewness",
    "Skewness of hubs",
    "hidden",
    hub_skewness,
    bounds=None,
    chance=skewness_chance,
    has_floor=False,
    unit="skewness",
    higher_is_better=False,
    least_pairs=NEIGHBOURS + 1,
    definition=(
        "How unevenly sentences are neighbours of others: the skewness of how often each is among "
        "the nearest. Above 0 there are hubs."
    ),
)
ANTI_HUBS = Metric(
    "anti_hubs",
    "Anti-hubs",
    "hidden",
    anti_hubs,
    chance=anti_hub_chance,
    has_floor=False,
    unit="share of sentences",
    higher_is_better=False,
    least_pairs=NEIGHBOURS + 1,
    definition=("The share of sentences that are among the nearest of no sentence of the pivot."),
)
ROBIN_HOOD = Metric(
    "robin_hood",
    "Robin Hood index",
    "hidden",
    robin_hood,
    bounds=None,
    chance=robin_hood_chance,
    has_floor=False,
    unit="share of neighbours",
    higher_is_better=False,
    least_pairs=NEIGHBOURS + 1,
    definition=(
        "The share of all places among the nearest that hubs would have to give away for all "
        "sentences to have equally many."
    ),
)
