"""CSLS retrieval: nearest neighbours, where sentences that are near to everything count less."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.metrics.metric import Metric
from xalign.metrics.neighbours import neighbourhood
from xalign.metrics.retrieval import retrieval_chance, retrieval_from_pivot

NEIGHBOURS = 10


def csls(similarity: Float[Tensor, "pair pair"], k: int = NEIGHBOURS) -> Float[Tensor, "pair pair"]:
    """Return the cross-domain similarities 2 C[i, j] − r_i − r_j of all pairs of sentences.

    r_i is the mean cosine of pivot sentence i with its k nearest sentences of the other language, and r_j
    that of sentence j with its k nearest pivot sentences. Sentences that are near to everything have a large
    r. A sentence without a direction is nobody's neighbour, and its similarities are −∞.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.
        k: The number of neighbours.

    Raises:
        ArgumentError: Fewer than k pairs.

    Reference:
        Conneau et al. (2018), Word translation without parallel data, §2.3, k = 10.

    Example:
        >>> csls(torch.tensor([[1.0, 0.5], [0.5, 0.0]]), k=1).tolist()
        [[0.0, -0.5], [-0.5, -1.0]]
    """
    known = similarity.nan_to_num(nan=-1.0)
    found = 2 * known - neighbourhood(known, k)[:, None] - neighbourhood(known.T, k)[None, :]
    # As in `cosine_matrix`: what is equal ties.
    return torch.round(found, decimals=12).masked_fill(similarity.isnan(), -torch.inf)


def csls_from_pivot(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return the bits of top-1 retrieval from the pivot by CSLS with 10 neighbours.

    Raises:
        ArgumentError: Fewer than 10 pairs.

    Example:
        >>> csls_from_pivot(torch.eye(10)).all().item()
        True
    """
    return retrieval_from_pivot(csls(similarity)) & ~similarity.diagonal().isnan()


def csls_to_pivot(similarity: Float[Tensor, "pair pair"]) -> Bool[Tensor, " pair"]:
    """Return the bits of the other direction: those of the transposed matrix.

    Example:
        >>> csls_to_pivot(torch.eye(10)).all().item()
        True
    """
    return csls_from_pivot(similarity.T)


CSLS = Metric(
    "csls",
    "CSLS retrieval",
    "hidden",
    chance=retrieval_chance,
    parts={"csls_from_pivot": csls_from_pivot, "csls_to_pivot": csls_to_pivot},
    unit="share of pairs",
    least_pairs=NEIGHBOURS,
    definition=(
        "Retrieval with each cosine made less by how near either sentence is to its 10 nearest "
        "neighbours, so that sentences near to everything do not win."
    ),
)
