"""`rows_edit`: a vector of each prompt written in place of a site's values."""

from jaxtyping import Float
from torch import Tensor

from xalign.model.write import Edit


def rows_edit(rows: Float[Tensor, "prompt width"]) -> Edit:
    """Return an edit that writes row i at the tokens of sentence i; a single row serves every sentence."""
    return Edit("set", rows[0]) if len(rows) == 1 else Edit("replace", rows)
