"""Find the units and the vectors that carry a language.

A new method is a file with its function and its `Method`, and one line in `METHODS`.
"""

from xalign.finding.expert_ap import EXPERT_AP
from xalign.finding.find import find_units
from xalign.finding.language_means import language_means
from xalign.finding.language_neurons import LAPE
from xalign.finding.mean_difference import mean_difference
from xalign.finding.method import Method

__all__ = ["METHODS", "Method", "find_units", "language_means", "mean_difference"]

METHODS: dict[str, Method] = {method.name: method for method in (EXPERT_AP, LAPE)}
