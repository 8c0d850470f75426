"""Links: which token of a sentence translates which token of its translation, learnt from parallel text."""

from xalign.links.aligner import Aligner, Links, OneWay
from xalign.links.eflomal import EFLOMAL
from xalign.links.ibm1 import IBM1

ALIGNERS = {aligner.name: aligner for aligner in (IBM1, EFLOMAL)}

__all__ = ["ALIGNERS", "Aligner", "Links", "OneWay"]
