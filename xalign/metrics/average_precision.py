"""Average precision of very many units at once: how well each one alone tells some sentences from others."""

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
    _check(scores, positive)
    block_bytes = whole_number("block_bytes", block_bytes, least=1)
    scores = scores.detach()
    # Half precision has no sort of its own in numpy; the order is the same in float32.
    scores = scores if scores.dtype == torch.float64 else scores.float()
    chosen = positive.to(scores.device)
    n, units = scores.shape
    width = max(1, block_bytes // (n * scores.element_size()))
    found = torch.empty(units, dtype=torch.float64, device=scores.device)
    for start in range(0, units, width):
        # A copy, also of a single unit, whose transpose is contiguous as it is.
        block = scores[:, start : start + width].T.clone(memory_format=torch.contiguous_format)
        found[start : start + width] = _of_block(block, chosen, start)
    return found.cpu()


def _check(scores: Tensor, positive: Tensor) -> None:
    """Raise an error for scores and a mask that do not go together."""
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


def _of_block(
    block: Float[Tensor, "unit example"], chosen: Bool[Tensor, " example"], start: int
) -> Float[Tensor, " unit"]:
    """Return the average precision of each unit, counted from `start`; the block may be sorted in place."""
    wanted = _ascending(block[:, chosen])
    block = _ascending(block)
    if bool(block[:, -1].isnan().any()):
        unit = start + int(block[:, -1].isnan().int().argmax())
        raise ArgumentError(f"the scores of unit {unit} hold NaN; check the activations they come from")
    # Per positive, how many examples and how many positives score at least as high.
    every = block.shape[1] - torch.searchsorted(block, wanted)
    same = wanted.shape[1] - torch.searchsorted(wanted, wanted)
    return (same.double() / every).mean(dim=1)


def _ascending(block: Float[Tensor, "unit example"]) -> Float[Tensor, "unit example"]:
    """Return the rows in ascending order, NaN last; on the CPU they are sorted in place."""
    if block.device.type != "cpu":
        return block.sort(dim=1).values
    # numpy sorts float32 many times as fast as torch does on a CPU.
    block.numpy().sort(axis=1)
    return block
