"""`clamp`: values kept between two bounds."""

from collections.abc import Sequence

from torch import Tensor

from xalign.model.operators.operands import BOUNDS
from xalign.model.operators.operator import Operator


def clamp(values: Tensor, bounds: Sequence[Tensor | None]) -> Tensor:
    """Return the values [batch, token, unit], none of them below the first bound or above the second."""
    return values.clamp(*bounds)


CLAMP = Operator("clamp", clamp, operand=BOUNDS, of_units=None, of_vector=None)
