"""Metrics: pure functions of tensors, and the `Metric` objects that `measure` knows by name.

A new metric is a file with its function and its `Metric`, and one line in `METRICS`. `average_precision` and
`lape` are functions for finding units; they are not metrics of a report.
"""

from xalign.metrics.margin import MARGIN
from xalign.metrics.metric import Metric
from xalign.metrics.retrieval import RETRIEVAL
from xalign.metrics.routing import ROUTING
from xalign.metrics.weak_alignment import MEXA, NASCA, NAVCA

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (NASCA, NAVCA, MEXA, RETRIEVAL, MARGIN, ROUTING)
}
