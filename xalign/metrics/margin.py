"""Margin: by how much a translation beats its nearest rival."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.metrics.metric import Metric
from xalign.metrics.weak_alignment import check_pairs


def margin(similarity: Float[Tensor, "pair pair"]) -> Float[Tensor, " pair"]:
    """Return C[i, i] − max over j ≠ i of max(C[i, j], C[j, i]), per pair, in [−2, 2].

    It is positive exactly where the weak-alignment bit is 1, and it still changes where weak alignment is
    saturated at 0 or 1.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.

    Returns:
        One difference of cosines per pair.

    Raises:
        ArgumentError: Fewer than 2 pairs.

    Example:
        >>> margin(torch.tensor([[.5, .25], [.0, 1.]])).tolist()
        [0.25, 0.75]
    """
    n = check_pairs(similarity)
    others = similarity.masked_fill(torch.eye(n, dtype=torch.bool, device=similarity.device), -torch.inf)
    return similarity.diagonal() - torch.maximum(others.amax(dim=0), others.amax(dim=1))


MARGIN = Metric(
    "margin",
    "Margin",
    "hidden",
    margin,
    bounds=(-2.0, 2.0),
    unit="cosine",
    definition=(
        "By how much the cosine of a sentence and its translation exceeds that of the nearest "
        "wrong pair, averaged over pairs. Below 0, a wrong one is nearer."
    ),
)
