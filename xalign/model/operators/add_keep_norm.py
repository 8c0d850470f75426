"""`add_keep_norm`: values turned towards a vector, each token's at the length that it had."""

import torch
from torch import Tensor

from xalign.model.operators.operands import DIRECTION
from xalign.model.operators.operator import Operator


def add_keep_norm(values: Tensor, vector: Tensor) -> Tensor:
    """Return ‖x‖ (x + v) / ‖x + v‖ for values x [batch, token, unit], in float32.

    Where x + v is zero it has no direction, and x stays. The result has the dtype of the values.
    """
    wide = values.float()
    moved = wide + vector
    length, before = moved.norm(dim=-1, keepdim=True), wide.norm(dim=-1, keepdim=True)
    kept = torch.where(length > 0, moved * (before / length.clamp(min=torch.finfo(torch.float32).tiny)), wide)
    return kept.to(values.dtype)


ADD_KEEP_NORM = Operator("add_keep_norm", add_keep_norm, operand=DIRECTION, of_units=None)
