"""Average precision of very many units at once: how well each one alone tells some sentences from others."""

import numpy as np
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
    """Return the average precision of each unit, in the faster of two ways; the block may be changed."""
    if block.device.type == "cpu" and block.dtype == torch.float32 and bool(block.sum().isfinite()):
        few = ascending(block[:16].clone())
        if not bool((few[:, 1:] == few[:, :-1]).any()):
            return _marked(block, chosen)
    return _searched(block, chosen)


def _marked(block: Float[Tensor, "unit example"], chosen: Bool[Tensor, " example"]) -> Float[Tensor, " unit"]:
    """Return the average precision of each unit by one sort; fast where few scores are equal."""
    units, examples = block.shape
    # The last bit of a score says whether its example is positive.
    marked = block.add_(0.0).view(torch.int32) & ~1 | chosen.int()  # adding 0 turns -0 into 0
    ascending(marked.view(torch.float32))
    positive = (marked & 1).bool()
    # Scores that differ in this bit alone may be equal, or in another order: look their units up.
    marked |= 1
    equal = marked[:, 1:] == marked[:, :-1]
    unsure = (equal & (positive[:, 1:] | positive[:, :-1])).any(dim=1)
    del marked, equal
    places = torch.from_numpy(np.flatnonzero(positive.numpy())).reshape(units, -1)
    above = places.sub_(examples * torch.arange(units).unsqueeze(1)).neg_().add_(examples)
    wanted = above.shape[1]
    found = ((wanted - torch.arange(wanted)).double() / above).mean(dim=1)
    if bool(unsure.any()):
        found[unsure] = _searched(block[unsure], chosen)
    return found


def _searched(
    block: Float[Tensor, "unit example"], chosen: Bool[Tensor, " example"]
) -> Float[Tensor, " unit"]:
    """Return the average precision of each unit by looking its positives up; the block may be sorted."""
    wanted = ascending(block[:, chosen])
    block = ascending(block)
    # Per positive, how many examples and how many positives score at least as high.
    every = block.shape[1] - torch.searchsorted(block, wanted)
    same = wanted.shape[1] - torch.searchsorted(wanted, wanted)
    return (same.double() / every).mean(dim=1)
