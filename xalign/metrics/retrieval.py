"""Retrieval: whether the nearest sentence of the other language is the translation."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.metrics.metric import Metric
from xalign.metrics.weak_alignment import check_pairs


def retrieval_from_pivot(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return the bits of top-1 retrieval from the pivot.

    Bit i is 1 iff C[i, i] is the largest entry of row i; of equal entries, the first counts as the largest.

    Success in both directions at once is the weak-alignment bit, except for ties, and is not reported again.
    Chance is 1 / n.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.

    Returns:
        One bit per pair. Their mean is top-1 accuracy.

    Raises:
        ArgumentError: Fewer than 2 pairs.

    Reference:
        Artetxe and Schwenk (2019), similarity search on Tatoeba; NeuronXA reports it as En→xx.

    Example:
        >>> retrieval_from_pivot(torch.tensor([[.9, .9, .1], [.2, .8, .3], [.1, .2, .7]])).tolist()
        [True, True, True]
    """
    n = check_pairs(similarity)
    # argmax takes NaN for the largest entry: a NaN on the diagonal is not a success.
    found = similarity.argmax(dim=1) == torch.arange(n, device=similarity.device)
    return found & ~similarity.diagonal().isnan()


def retrieval_to_pivot(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return the bits of top-1 retrieval to the pivot (xx→En): those of the transposed matrix.

    Example:
        >>> retrieval_to_pivot(torch.tensor([[.9, .9, .1], [.2, .8, .3], [.1, .2, .7]])).tolist()
        [True, False, True]
    """
    return retrieval_from_pivot(similarity.T)


def retrieval_chance(n: int) -> float:
    """Return the expected accuracy of retrieval among n candidates without any information."""
    return 1 / n


RETRIEVAL = Metric(
    "retrieval",
    "Retrieval",
    "hidden",
    chance=retrieval_chance,
    parts={"retrieval_from_pivot": retrieval_from_pivot, "retrieval_to_pivot": retrieval_to_pivot},
    unit="share of pairs",
    definition=(
        "The share of sentences whose nearest neighbour in the other language, by the cosine of "
        "hidden states, is their translation; the mean of both directions."
    ),
)
