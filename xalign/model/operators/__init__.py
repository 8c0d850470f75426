"""What can be done to the values at a site: one file per family, and `OPERATORS`, where each has its line."""

from xalign.model.operators.add_keep_norm import ADD_KEEP_NORM
from xalign.model.operators.affine import AFFINE, TRANSFORM
from xalign.model.operators.arithmetic import ADD, DAMPEN, SCALE, SET, ZERO
from xalign.model.operators.clamp import CLAMP
from xalign.model.operators.operator import Operator, OperatorLike, resolve_operator
from xalign.model.operators.project import PROJECT
from xalign.model.operators.project_add import PROJECT_ADD
from xalign.model.operators.replace import REPLACE

__all__ = [
    "DEFAULT_FOR_UNITS",
    "DEFAULT_FOR_VECTORS",
    "OPERATORS",
    "Operator",
    "OperatorLike",
    "resolve_operator",
]

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        *(SET, ADD, SCALE, DAMPEN, ZERO, CLAMP, PROJECT, PROJECT_ADD, ADD_KEEP_NORM, REPLACE),
        *(AFFINE, TRANSFORM),
    )
}
DEFAULT_FOR_UNITS = SET
DEFAULT_FOR_VECTORS = ADD
