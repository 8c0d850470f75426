"""`project_add`: values with exactly a vector along its direction, whatever lay along it before."""

from torch import Tensor

from xalign.model.operators.operands import DIRECTION
from xalign.model.operators.operator import Operator
from xalign.model.operators.project import project


def project_add(values: Tensor, vector: Tensor) -> Tensor:
    """Return x − (x · u) u + v for values x [batch, token, unit] and u = v / ‖v‖, in float32.

    The result has the dtype of the values.
    """
    return (project(values.float(), vector) + vector).to(values.dtype)


PROJECT_ADD = Operator("project_add", project_add, operand=DIRECTION, of_units=None, is_linear=True)
