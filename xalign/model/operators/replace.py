"""`replace`: a vector of each sentence in place of the values at its tokens."""

from torch import Tensor

from xalign.model.operators.operands import PER_SENTENCE
from xalign.model.operators.operator import Operator


def replace(values: Tensor, rows: Tensor) -> Tensor:
    """Return row i of `rows` [batch, unit] at every token of sentence i."""
    return rows.unsqueeze(1).expand_as(values)


REPLACE = Operator("replace", replace, operand=PER_SENTENCE, of_units=None, of_vector=None)
