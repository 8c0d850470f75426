"""A null distribution: scores of the same vectors after sentences and translations are paired at random."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.weak_alignment import check_pairs, weak_alignment


def shuffled_null(
    similarity: Float[Tensor, "pair pair"],
    *,
    draws: int = 200,
    seed: int = 0,
    metric: Callable[[Float[Tensor, "pair pair"]], Tensor] = weak_alignment,
) -> Float[Tensor, " draw"]:
    """Return the scores after shuffling which translation belongs to which pivot sentence.

    Their mean is the chance level of these very vectors, including hubs and ties. Where r draws reach the
    true score, (r + 1) / (draws + 1) is a p-value.

    Args:
        similarity: C, rows for pivot sentences and columns for their translations.
        draws: Number of random permutations, at least 1.
        seed: The same seed gives the same draws.
        metric: A function of a similarity matrix that returns one value per pair.

    Returns:
        One score per draw.

    Raises:
        ArgumentError: Fewer than 2 pairs, or `draws` below 1.

    Example:
        >>> shuffled_null(torch.eye(50), draws=100).mean() < 0.1
        tensor(True)
    """
    n = check_pairs(similarity)
    if draws < 1:
        raise ArgumentError(f"draws={draws} must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    scores = [
        metric(similarity[:, torch.randperm(n, generator=generator)]).double().mean() for _ in range(draws)
    ]
    return torch.stack(scores)
