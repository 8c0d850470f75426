"""`pivot_drift`: how far the pivot's states have moved from where they were before training."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def pivot_drift(
    states: Sequence[Float[Tensor, "pair *token width"]],
    start: Sequence[Float[Tensor, "pair *start_token width"]],
    weights: Iterable[float],
    mask: Bool[Tensor, "pair token"] | None = None,
    start_mask: Bool[Tensor, "pair start_token"] | None = None,
) -> Float[Tensor, ""]:
    """Compute the mean squared difference of the pivot's states from their start, weighted over blocks.

    The mean is over sentences, or over tokens that count, and over coordinates. Only `states` get a gradient.

    Args:
        states: Per block, the pivot's states now: pooled, or of all tokens.
        start: The same before training.
        weights: The weight of each block.
        mask: True at tokens that count; None for pooled states.
        start_mask: The same for `start`, whose padding may differ.

    Reference:
        Nakai et al. (2025), *TRepLiNa*, whose drift is of one side's tokens at one layer.

    Example:
        >>> pivot_drift([torch.ones(2, 3)], [torch.zeros(2, 3)], [0.5]).item()
        0.5
    """
    total = torch.zeros((), device=states[0].device)
    for now, before, weight in zip(states, start, weights, strict=True):
        if mask is not None and start_mask is not None:
            now, before = now[mask.to(now.device)], before[start_mask.to(before.device)]
        difference = now - before.detach().to(now.device)
        total = total + weight * difference.square().mean().to(total.device)
    return total
