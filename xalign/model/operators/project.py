"""`project`: values without what lies along a direction."""

from torch import Tensor

from xalign.model.operators.operands import DIRECTION
from xalign.model.operators.operator import Operator


def project(values: Tensor, direction: Tensor) -> Tensor:
    """Return x − (x · u) u for values x [batch, token, unit] and u = direction / ‖direction‖, in float32.

    The result has the dtype of the values.
    """
    unit, wide = direction / direction.norm(), values.float()
    without: Tensor = wide - (wide @ unit).unsqueeze(-1) * unit
    return without.to(values.dtype)


def _vector_alone(vector: Tensor, strength: float) -> Tensor:  # noqa: ARG001
    return vector


PROJECT = Operator(
    "project", project, operand=DIRECTION, of_units=None, of_vector=_vector_alone, is_linear=True
)
