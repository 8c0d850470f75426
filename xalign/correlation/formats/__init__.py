"""Kinds of results files that are read."""

from xalign.correlation.formats.every_eval_ever import EVERY_EVAL_EVER
from xalign.correlation.formats.format import Format, Found
from xalign.correlation.formats.lighteval import LIGHTEVAL
from xalign.correlation.formats.lm_eval import LM_EVAL
from xalign.correlation.formats.table import read_table

FORMATS = (LM_EVAL, LIGHTEVAL, EVERY_EVAL_EVER)

__all__ = ["FORMATS", "Format", "Found", "read_table"]
