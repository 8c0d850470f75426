"""`affine` and `transform`: values scaled and shifted unit by unit, or mapped by a matrix."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from xalign.model.operators.operands import MAP, SCALE_AND_SHIFT
from xalign.model.operators.operator import Operator


def affine(values: Tensor, operand: Sequence[float | Tensor]) -> Tensor:
    """Return values · scale + shift, unit by unit: scale 0 sets a unit, with shift 0 to zero."""
    scale, shift = operand
    return values * scale + shift


def transform(values: Tensor, operand: Sequence[Any]) -> Tensor:
    """Return x W + b for values x [batch, token, unit], W [unit, unit] and b [unit], or x W without b.

    It is computed in the dtype of W, float32 or wider; the result has the dtype of the values.
    """
    matrix, bias = operand
    new = values.to(matrix.dtype) @ matrix
    mapped: Tensor = new if bias is None else new + bias
    return mapped.to(values.dtype)


AFFINE = Operator("affine", affine, operand=SCALE_AND_SHIFT, of_units=None, of_vector=None, is_linear=True)
TRANSFORM = Operator("transform", transform, operand=MAP, of_units=None, of_vector=None, is_linear=True)
