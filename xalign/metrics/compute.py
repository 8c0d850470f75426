"""`compute_values`: run a metric's function, which may be a user's own, and check what it gives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.metric import Compute
from xalign.metrics.scale import Scale

ROUNDING = 1e-6  # a cosine in float32 may be 1.0000001


def compute_values(row: str, compute: Compute, given: Sequence[Tensor], scale: Scale, n: int) -> Tensor:
    """Run a metric's function, which may be a user's own, and check what it returns.

    Args:
        row: The row of the report, for errors.
        compute: The function.
        given: The similarity matrix, or both sides' states. They are shared with other metrics.
        scale: What the numbers are said to mean.
        n: The number of pairs.

    Returns:
        One value per pair, without gradient: bits, or floats of at least 32 bits.

    Raises:
        ArgumentError: A function that changes what it is given, that gives anything but one real value per
            pair, or values outside the metric's bounds.

    Example:
        >>> similarity = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> compute_values("own", torch.diagonal, [similarity], Scale("Own"), n=2)
        tensor([0.9000, 0.8000])
    """
    # Tensors made in inference mode count no changes.
    counted = [tensor for tensor in given if not tensor.is_inference()]
    versions = [tensor._version for tensor in counted]
    with torch.no_grad():
        values = compute(*given)
    where = f"the function of metric {row!r}"
    if versions != [tensor._version for tensor in counted]:
        raise ArgumentError(
            f"{where} changes what it is given, which other metrics read too; work on a copy: .clone()"
        )
    if not isinstance(values, Tensor):
        raise ArgumentError(f"{where} must give a tensor of one value per pair, not {type(values).__name__}")
    if values.shape != (n,) or values.is_complex():
        raise ArgumentError(
            f"{where} must give one real value per pair ({n}), not {values.dtype} of shape "
            f"{tuple(values.shape)}"
        )
    values = values.detach()
    exact = values.dtype in (torch.bool, torch.float32, torch.float64)
    found: Tensor = values if exact else values.double()
    _check_bounds(row, found, scale)
    return within_bounds(found, scale)


def within_bounds(values: Tensor, scale: Scale) -> Tensor:
    """Return values in which those that rounding put outside the bounds are set to the bounds.

    Example:
        >>> within_bounds(torch.tensor([1.0000001, 0.5]), Scale("Own", bounds=(0.0, 1.0)))
        tensor([1.0000, 0.5000])
    """
    return values if scale.bounds is None or values.dtype == torch.bool else values.clamp(*scale.bounds)


def _check_bounds(row: str, values: Tensor, scale: Scale) -> None:
    if scale.bounds is None:
        return
    low, high = scale.bounds
    outside = (values < low - ROUNDING) | (values > high + ROUNDING)
    if bool(outside.any()):
        raise ArgumentError(
            f"metric {row!r} gave {values[outside][0].item():.6g}, outside its bounds {scale.bounds}; pass "
            "the true bounds, or bounds=None"
        )
