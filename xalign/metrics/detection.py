"""Scores of very many units as detectors of some examples: checked, and processed block by block."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError

BLOCK_BYTES = 16 * 2**20

OfBlock = Callable[[Float[Tensor, "unit example"], Bool[Tensor, " example"]], Float[Tensor, " unit"]]
"""(scores of some units, which it may change; which examples are positive) -> a number per unit."""


def in_blocks(
    of_block: OfBlock,
    scores: Float[Tensor, "example unit"],
    positive: Bool[Tensor, " example"],
    *,
    name: str,
    block_bytes: int = BLOCK_BYTES,
) -> Float[Tensor, " unit"]:
    """Compute a number per unit from its scores, in blocks of units of bounded memory, where the scores lie.

    Args:
        of_block: The function.
        scores: A score per example and unit.
        positive: Which examples are to be detected.
        name: What is computed, for errors.
        block_bytes: The most memory of the scores of a block.

    Raises:
        ArgumentError: No positive or no negative example, different numbers of examples, or NaN.
        ArgumentTypeError: Scores that are not floats, or a mask that is not boolean.

    Example:
        >>> def share_above(block, positive):
        ...     return (block[:, positive] > 0).double().mean(dim=1)
        >>> in_blocks(share_above, torch.tensor([[1.0], [2.0]]), torch.tensor([True, False]), name="share")
        tensor([1.], dtype=torch.float64)
    """
    check_detection(scores, positive, name)
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
        not_a_number = block.amax(dim=1).isnan()
        if bool(not_a_number.any()):
            unit = start + int(not_a_number.int().argmax())
            raise ArgumentError(f"the scores of unit {unit} hold NaN; check the activations they come from")
        found[start : start + width] = of_block(block, chosen)
    return found.cpu()


def ascending(block: Float[Tensor, "unit example"]) -> Float[Tensor, "unit example"]:
    """Return the rows in ascending order; on the CPU they are sorted in place.

    Example:
        >>> ascending(torch.tensor([[2.0, 1.0]]))
        tensor([[1., 2.]])
    """
    if block.device.type != "cpu":
        return block.sort(dim=1).values
    # numpy sorts float32 many times as fast as torch does on a CPU.
    block.numpy().sort(axis=1)
    return block


def check_detection(scores: Tensor, positive: Tensor, name: str) -> None:
    """Raise an error for scores and a mask that do not go together."""
    for what, values in (("scores", scores), ("positive", positive)):
        if not isinstance(values, Tensor):
            raise ArgumentTypeError(f"{what} must be a tensor, not {type(values).__name__}")
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
            f"{count} of {len(positive)} examples are positive; {name} takes some of either kind"
        )
