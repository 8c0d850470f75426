"""Edits in forms that other programs load: adapters, checkpoints, control vectors, files for evaluation.

A new form is a file with its function and its `Format`, and one line in `FORMATS`.
"""

from xalign.exports.export import export
from xalign.exports.format import Format, Request
from xalign.exports.gguf import GGUF
from xalign.exports.lm_eval import LM_EVAL
from xalign.exports.peft import PEFT
from xalign.exports.weights import WEIGHTS

__all__ = ["FORMATS", "Format", "Request", "export"]

FORMATS: dict[str, Format] = {one.name: one for one in (PEFT, WEIGHTS, GGUF, LM_EVAL)}
