"""Find the units and the vectors that carry a language."""

from xalign.finding.find import find_units
from xalign.finding.language_means import language_means
from xalign.finding.mean_difference import mean_difference

__all__ = ["find_units", "language_means", "mean_difference"]
