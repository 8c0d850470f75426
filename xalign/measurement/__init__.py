"""Measure how well a model lines its languages up."""

from typing import Any

from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Measurement, measure
from xalign.renamed import renamed

__all__ = ["MeasureOptions", "Measurement", "measure"]


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
