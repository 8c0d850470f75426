"""Measure how well a model lines its languages up."""

from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Measurement, measure

__all__ = ["MeasureOptions", "Measurement", "measure"]
