"""Measure how well a model lines its languages up."""

from typing import Any

from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Measurement, measure
from xalign.measurement.state_cache import StateCache
from xalign.renamed import renamed

__all__ = ["MeasureOptions", "Measurement", "StateCache", "measure"]


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
