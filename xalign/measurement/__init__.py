"""Measure how well a model lines its languages up."""

from xalign.measurement.run import Measurement, MeasureOptions, measure

__all__ = ["MeasureOptions", "Measurement", "measure"]
