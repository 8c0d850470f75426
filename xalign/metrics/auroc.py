"""Area under the ROC curve of very many units at once: how well each one alone tells two sides apart."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.metrics.detection import BLOCK_BYTES, ascending, in_blocks


def auroc(
    scores: Float[Tensor, "example unit"],
    positive: Bool[Tensor, " example"],
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Float[Tensor, " unit"]:
    """Compute the area under the ROC curve of each unit as a detector of the positive examples.

    It is the probability that a positive example, drawn at random, scores higher than a negative one; equal
    scores count half. A perfect detector has 1, a detector of the opposite sign 0, and a constant or random
    unit ½, whatever the share of positives. In this it differs from average precision.

    Args:
        scores: A score per example and unit.
        positive: Which examples are to be detected.
        block_bytes: Units are computed in blocks whose scores take at most this much memory. At the peak,
            about 4 times as much is held beside `scores`.

    Returns:
        AUROC per unit, in [0, 1], float64.

    Raises:
        ArgumentError: No positive or no negative example, different numbers of examples, or NaN.
        ArgumentTypeError: Scores that are not floats, or a mask that is not boolean.

    Reference:
        Mann and Whitney (1947). Suau et al. (2024), Whispering Experts, §3, take it for expertise.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.4, 0.5], [0.6, 0.7]])
        >>> auroc(scores, torch.tensor([True, True, False])).tolist()
        [0.5, 0.0]
    """
    return in_blocks(_of_block, scores, positive, name="AUROC", block_bytes=block_bytes)


def _of_block(
    block: Float[Tensor, "unit example"], chosen: Bool[Tensor, " example"]
) -> Float[Tensor, " unit"]:
    """Return the AUROC of each unit: the share of pairs whose positive is above; a tie is half a pair."""
    wanted, others = block[:, chosen], ascending(block[:, ~chosen])
    below = torch.searchsorted(others, wanted)
    not_above = torch.searchsorted(others, wanted, right=True)
    pairs = wanted.shape[1] * others.shape[1]
    return (below + not_above).sum(dim=1).double() / (2 * pairs)
