"""Average precision of very many units at once: how well each one alone tells some sentences from others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.metrics.detection import BLOCK_BYTES, ascending, in_blocks


def average_precision(
    scores: Float[Tensor, "example unit"],
    positive: Bool[Tensor, " example"],
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Float[Tensor, " unit"]:
    """Compute the average precision of each unit as a detector of the positive examples.

    AP = Σ_k (R_k − R_{k−1}) P_k over the thresholds of a unit's scores, from the highest down, without
    interpolation; equal scores share a threshold. That is the mean over the positives of the precision at
    each one's own score. A perfect detector has 1; a constant unit has the prevalence, the share of
    positives, and a random one about that; a detector of the opposite sign has less.

    Args:
        scores: A score per example and unit. They are sorted on the device on which they lie.
        positive: Which examples are to be detected.
        block_bytes: Units are computed in blocks whose scores take at most this much memory. At the peak,
            about 4 times as much is held beside `scores`.

    Returns:
        AP per unit, in [0, 1], float64, on the CPU.

    Raises:
        ArgumentError: No positive or no negative example, different numbers of examples, or NaN.
        ArgumentTypeError: Scores that are not floats, or a mask that is not boolean.

    Reference:
        Suau et al. (2022), Self-conditioning pre-trained language models, §3.1, who call it expertise.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.4, 0.5], [0.6, 0.7]])
        >>> average_precision(scores, torch.tensor([True, True, False])).tolist()
        [0.8333333333333333, 0.5833333333333333]
    """
    return in_blocks(_of_block, scores, positive, name="average precision", block_bytes=block_bytes)


def _of_block(
    block: Float[Tensor, "unit example"], chosen: Bool[Tensor, " example"]
) -> Float[Tensor, " unit"]:
    """Return the average precision of each unit; the block may be sorted in place."""
    wanted = ascending(block[:, chosen])
    block = ascending(block)
    # Per positive, how many examples and how many positives score at least as high.
    every = block.shape[1] - torch.searchsorted(block, wanted)
    same = wanted.shape[1] - torch.searchsorted(wanted, wanted)
    return (same.double() / every).mean(dim=1)
