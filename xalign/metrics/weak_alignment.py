"""Weak alignment: whether a sentence and its translation are nearest to each other."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Metric, Source


def weak_alignment(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return the weak-alignment bits of a similarity matrix. Their mean is the score.

    Bit i is 1 iff C[i, i] is strictly greater than every other entry of row i and of column i. A tie gives 0,
    and so does any comparison with NaN.

    The score is NASCA on neuron activation states, NAVCA on neuron activation values and MEXA on hidden
    states. They differ in what is read, not in this function.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations. Swapping the two
            changes no bit, and reordering the pairs only reorders the bits.

    Returns:
        One bit per pair.

    Raises:
        ArgumentError: Fewer than 2 pairs.

    Reference:
        Kargaran et al. (2025), MEXA, §3.1; Huang et al. (2025), NeuronXA.

    Example:
        >>> weak_alignment(torch.tensor([[.9, .9, .1], [.2, .8, .3], [.1, .2, .7]])).tolist()
        [False, False, True]
    """
    n = check_pairs(similarity)
    diagonal = similarity.diagonal()
    others = similarity.masked_fill(torch.eye(n, dtype=torch.bool, device=similarity.device), -torch.inf)
    # amax propagates NaN, and every comparison with NaN is false.
    return (diagonal > others.amax(dim=0)) & (diagonal > others.amax(dim=1))


def weak_alignment_chance(n: int) -> float:
    """Return the expected score of n pairs with independent similarities: 1 / (2n − 1) (MEXA, §3.2)."""
    return 1 / (2 * n - 1)


def check_pairs(similarity: Float[Tensor, "pair pair"]) -> int:
    """Return the number of pairs of a similarity matrix.

    Raises:
        ArgumentError: Fewer than 2 pairs.
    """
    if len(similarity) < 2:
        raise ArgumentError(
            f"similarity has {len(similarity)} pair(s); at least 2 are needed to compare anything"
        )
    return len(similarity)


_DEFINITION = (
    "The share of pairs in which a sentence and its translation are nearest to each other, from both sides, "
    "by the cosine of {of}. The score is the mean over layers. It depends on the number of pairs."
)


def _weak_alignment_metric(name: str, reads: Source, of: str) -> Metric:
    return Metric(
        name,
        name.upper(),
        reads,
        weak_alignment,
        chance=weak_alignment_chance,
        unit="share of pairs",
        definition=_DEFINITION.format(of=of),
    )


NASCA = _weak_alignment_metric(
    "nasca",
    "neuron_states",
    "neuron states: how often each feed-forward neuron is active over the tokens",
)
NAVCA = _weak_alignment_metric(
    "navca",
    "neuron_values",
    "neuron values: how strongly each feed-forward neuron acts over the tokens",
)
MEXA = _weak_alignment_metric(
    "mexa",
    "hidden",
    "hidden states, averaged over the tokens",
)
