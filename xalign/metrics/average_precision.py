"""Average precision of very many units at once: how well each one alone tells some sentences from others."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.metrics.detection import BLOCK_BYTES, in_blocks


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
        scores: A score per example and unit.
        positive: Which examples are to be detected.
        block_bytes: Units are computed in blocks whose scores take at most this much memory. At the peak,
            about 4 times as much is held beside `scores`.

    Returns:
        AP per unit, in [0, 1], float64.

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
    block: Float[np.ndarray, "unit example"], chosen: Bool[np.ndarray, " example"]
) -> Float[np.ndarray, " unit"]:
    """Return the average precision of each unit; the block is sorted in place."""
    wanted = np.ascontiguousarray(block[:, chosen])
    # numpy sorts float32 many times as fast as torch does on a CPU.
    block.sort(axis=1)
    wanted.sort(axis=1)
    # Per positive, how many examples and how many positives score at least as high.
    every = block.shape[1] - _first_at_least(block, wanted)
    same = wanted.shape[1] - _first_at_least(wanted, wanted)
    means: Float[np.ndarray, " unit"] = (same / every).mean(axis=1)
    return means


def _first_at_least(
    ordered: Float[np.ndarray, "unit example"], values: Float[np.ndarray, "unit positive"]
) -> Int[np.ndarray, "unit positive"]:
    """Return per row where each value would stand first in the row's ascending order."""
    return torch.searchsorted(torch.from_numpy(ordered), torch.from_numpy(values)).numpy()
