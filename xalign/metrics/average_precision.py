"""Average precision of very many units at once: how well each one alone tells some sentences from others."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError

BLOCK_BYTES = 16 * 2**20


def average_precision(
    scores: Float[Tensor, "example unit"],
    positive: Bool[Tensor, " example"],
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Float[Tensor, " unit"]:
    """The average precision of each unit as a detector of the positive examples.

    AP = Σ_k (R_k − R_{k−1}) P_k over the thresholds of a unit's scores, from the highest down, without
    interpolation; equal scores share a threshold. That is the mean over the positives of the precision at
    each one's own score. 1 is a perfect detector; a constant unit gives the prevalence, the share of
    positives, and a random one about that; a detector of the opposite sign gives less.

    Args:
        scores: A score per example and unit.
        positive: Which examples are to be detected.
        block_bytes: Units are done in blocks whose scores take at most so much; about 4 times as much is
            held at the peak, beside `scores`.

    Returns:
        AP per unit, in [0, 1], float64.

    Raises:
        ArgumentError: No positive or no negative example, sides of different lengths, NaN.
        ArgumentTypeError: Scores that are no floats, or a mask that is not boolean.

    Reference:
        Suau et al. (2022), Self-conditioning pre-trained language models, §3.1, who call it expertise.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.4, 0.5], [0.6, 0.7]])
        >>> average_precision(scores, torch.tensor([True, True, False])).tolist()
        [0.8333333333333333, 0.5833333333333333]
    """
    for name, values in (("scores", scores), ("positive", positive)):
        if not isinstance(values, Tensor):
            raise ArgumentTypeError(f"{name} must be a tensor, not {type(values).__name__}")
    if not scores.is_floating_point():
        raise ArgumentTypeError(f"scores must hold floating-point numbers, not {scores.dtype}")
    if positive.dtype != torch.bool:
        raise ArgumentTypeError(f"positive must be boolean, not {positive.dtype}")
    if scores.dim() != 2 or positive.shape != scores.shape[:1]:
        raise ArgumentError(
            f"scores must be [example, unit] and positive [example]; they are {tuple(scores.shape)} and "
            f"{tuple(positive.shape)}"
        )
    count = int(positive.sum())
    if not 0 < count < len(positive):
        raise ArgumentError(
            f"{count} of {len(positive)} examples are positive; average precision takes some of either kind"
        )
    block_bytes = whole_number("block_bytes", block_bytes, least=1)
    # Half precision has no sort of its own in numpy; the order is the same in float32.
    scores = scores.detach().cpu()
    scores = scores if scores.dtype == torch.float64 else scores.float()
    chosen = positive.cpu().numpy()
    n, units = scores.shape
    width = max(1, block_bytes // (n * scores.element_size()))
    found = np.empty(units)
    for start in range(0, units, width):
        block = scores[:, start : start + width].T.contiguous().numpy()
        wanted = np.ascontiguousarray(block[:, chosen])
        # numpy sorts float32 many times as fast as torch does on a CPU, and NaN last.
        block.sort(axis=1)
        wanted.sort(axis=1)
        if np.isnan(block[:, -1]).any():
            unit = start + int(np.isnan(block[:, -1]).argmax())
            raise ArgumentError(f"the scores of unit {unit} hold NaN; check the activations they come from")
        # Per positive, how many examples and how many positives score at least as high.
        every = n - _first_at_least(block, wanted)
        same = count - _first_at_least(wanted, wanted)
        found[start : start + width] = (same / every).mean(axis=1)
    return torch.from_numpy(found)


def _first_at_least(
    ordered: "np.ndarray[tuple[int, int], np.dtype[np.floating]]",
    values: "np.ndarray[tuple[int, int], np.dtype[np.floating]]",
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Per row, where each value would stand first in the row's ascending order."""
    return torch.searchsorted(torch.from_numpy(ordered), torch.from_numpy(values)).numpy()
