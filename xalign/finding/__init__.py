"""Find the units and the vectors that carry a language.

A new method is a file with its function and its `Method`, and one line in `METHODS`. A new aggregator for
vectors is a function with its `Aggregator` in `aggregators.py`, and one line in `AGGREGATORS`.
"""

from xalign.finding.activation_gradient import ACTIVATION_GRADIENT
from xalign.finding.activation_probability import ACTIVATION_PROBABILITY
from xalign.finding.aggregators import AGGREGATORS, Aggregator
from xalign.finding.attribution import ATTRIBUTION
from xalign.finding.aura import AURA
from xalign.finding.expert_ap import EXPERT_AP
from xalign.finding.expert_auroc import EXPERT_AUROC
from xalign.finding.find import find_units
from xalign.finding.importance import importance
from xalign.finding.l1_probe import L1_PROBE
from xalign.finding.language_means import language_means
from xalign.finding.language_neurons import LAPE
from xalign.finding.language_vectors import language_vectors
from xalign.finding.mean_difference import mean_difference
from xalign.finding.method import Method
from xalign.finding.next_token import attribute_next_token

__all__ = [
    "AGGREGATORS",
    "METHODS",
    "Aggregator",
    "Method",
    "attribute_next_token",
    "find_units",
    "importance",
    "language_means",
    "language_vectors",
    "mean_difference",
]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        EXPERT_AP,
        EXPERT_AUROC,
        AURA,
        LAPE,
        ACTIVATION_PROBABILITY,
        L1_PROBE,
        ATTRIBUTION,
        ACTIVATION_GRADIENT,
    )
}
