"""`set`, `add`, `scale`, `dampen` and `zero`: units by a number each."""

import torch
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.model.operators.operands import NOTHING, Operand
from xalign.model.operators.operator import Operator


def set_to(values: Tensor, operand: float | Tensor) -> Tensor:
    """Return the operand in place of the values [batch, token, unit]."""
    if isinstance(operand, Tensor):
        return operand.expand_as(values)
    return torch.full_like(values, operand)


def add(values: Tensor, operand: float | Tensor) -> Tensor:
    """Return values + operand."""
    return values + operand


def scale(values: Tensor, operand: float | Tensor) -> Tensor:
    """Return values · operand."""
    return values * operand


def dampen(values: Tensor, factors: float | Tensor) -> Tensor:
    """Return values · factors, where each unit has a factor of its own."""
    return values * factors


def zero(values: Tensor, operand: None) -> Tensor:  # noqa: ARG001
    """Return zeros of the values' shape."""
    return torch.zeros_like(values)


def _strength_alone(values: Tensor, strength: float) -> Operand:  # noqa: ARG001
    return strength


def _towards_factors(factors: Tensor, strength: float) -> Operand:
    """Return 1 at strength 0, the factors at strength 1, and what lies between at strengths between.

    Raises:
        ArgumentError: Another strength, which would turn the sign of units around, or raise them.
    """
    if not 0 <= strength <= 1:
        raise ArgumentError(f"strength={strength:g} of 'dampen' must be between 0 and 1")
    return 1 + strength * (factors - 1)


def _no_operand(values: Tensor, strength: float) -> None:  # noqa: ARG001
    return None


SET = Operator("set", set_to, of_vector=None, is_linear=True, is_finite=True)
ADD = Operator("add", add, is_linear=True)
SCALE = Operator(
    "scale",
    scale,
    of_units=_strength_alone,
    of_vector=None,
    writes_unit_values=False,
    is_linear=True,
    needs_strength=True,
)
DAMPEN = Operator(
    "dampen",
    dampen,
    of_units=_towards_factors,
    of_vector=None,
    writes_unit_values=False,
    takes_factors=True,
    is_linear=True,
)
ZERO = Operator(
    "zero",
    zero,
    operand=NOTHING,
    of_units=_no_operand,
    of_vector=None,
    writes_unit_values=False,
    is_linear=True,
    is_finite=True,
)
