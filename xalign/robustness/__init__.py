"""Robustness of alignment: to other sentences, and to sentences that were changed."""

from xalign.results.stability import Stability
from xalign.robustness.measure_stability import measure_stability

__all__ = ["Stability", "measure_stability"]
