"""Angular similarity: how small the angle between two vectors is."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError

Scale = Literal["unit", "signed"]


def angular_similarity(
    one: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"], *, scale: Scale = "unit"
) -> Float[Tensor, " pair"]:
    """Return, row by row, 1 − angle / π: 1 for equal directions, ½ for right angles, 0 for opposite ones.

    Args:
        one: A vector per pair.
        other: Its partners.
        scale: `"unit"`, as above; `"signed"` is 1 − 2 · angle / π, in [−1, 1], as PhiloBERTA has it.

    Returns:
        A value per pair, in float64.

    Raises:
        ArgumentError: Another scale, sides of different shapes, values that are not finite, or a vector of
            zeros, which has no direction.

    Reference:
        Cer et al. (2018), Universal Sentence Encoder, §5, for `"unit"`; PhiloBERTA, arXiv 2503.05265, for
        `"signed"`.

    Example:
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> angular_similarity(east, north).item(), angular_similarity(east, north, scale="signed").item()
        (0.5, 0.0)
    """
    if scale not in get_args(Scale):
        raise ArgumentError(f"scale={scale!r:.40} must be one of {', '.join(get_args(Scale))}")
    if one.shape != other.shape:
        raise ArgumentError(
            f"one has shape {tuple(one.shape)} and other {tuple(other.shape)}; row i is a pair"
        )
    left, right = one.double(), other.double()
    lengths = left.norm(dim=1) * right.norm(dim=1)
    if not bool(torch.isfinite(lengths).all()) or bool((lengths == 0).any()):
        raise ArgumentError("a vector of one or other is 0 or not finite, and has no direction")
    # The half-angle formula keeps the digits that arccos loses near 0 and π.
    left, right = left / left.norm(dim=1, keepdim=True), right / right.norm(dim=1, keepdim=True)
    angle = 2 * torch.atan2((left - right).norm(dim=1), (left + right).norm(dim=1))
    share = angle / torch.pi
    return 1 - share if scale == "unit" else 1 - 2 * share
