"""Metrics: pure functions of tensors, and the `Metric` objects that `measure` knows by name.

A new metric is a file with its function and its `Metric`, and one line in `METRICS`. `average_precision` and
`lape` are functions for finding units; they are not metrics of a report.
"""

from xalign.metrics.activation_overlap import ACTIVATION_OVERLAP
from xalign.metrics.cka import CKA
from xalign.metrics.csls import CSLS
from xalign.metrics.dali import DALI, DALI_STRONG, MEXA_T
from xalign.metrics.hubness import ANTI_HUBS, HUB_SKEWNESS, ROBIN_HOOD
from xalign.metrics.isotropy import ANISOTROPY, ISO_SCORE
from xalign.metrics.language_probe import LANGUAGE_PROBE
from xalign.metrics.margin import MARGIN
from xalign.metrics.metric import Metric
from xalign.metrics.neuron_correlation import NEURON_CORRELATION
from xalign.metrics.retrieval import RETRIEVAL
from xalign.metrics.routing import ROUTING
from xalign.metrics.rsa import RSA
from xalign.metrics.sharing_groups import SHARED_NEURONS
from xalign.metrics.silhouette import SILHOUETTE
from xalign.metrics.weak_alignment import MEXA, NASCA, NAVCA
from xalign.metrics.xsim import XSIM

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(NASCA, NAVCA, MEXA, RETRIEVAL, MARGIN, ROUTING),
        *(CSLS, XSIM, CKA, RSA, NEURON_CORRELATION),
        *(ANISOTROPY, ISO_SCORE, HUB_SKEWNESS, ANTI_HUBS, ROBIN_HOOD, SILHOUETTE, LANGUAGE_PROBE),
        *(SHARED_NEURONS, ACTIVATION_OVERLAP),
        *(DALI, DALI_STRONG, MEXA_T),
    )
}


def definition_of(name: str) -> str:
    """Return the definition of a metric, in a sentence or two; empty for one that is not xalign's own.

    Example:
        >>> definition_of("csls").split(" with ")[0], definition_of("mine")
        ('Retrieval', '')
    """
    metric = METRICS.get(name)
    return "" if metric is None else metric.definition
