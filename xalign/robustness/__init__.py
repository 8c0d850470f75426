"""Robustness of alignment to the choice of sentences, and to changes in them."""

from xalign.results.stability import Stability
from xalign.robustness.look_alikes import LookAlikes, load_look_alikes
from xalign.robustness.measure_robustness import measure_robustness
from xalign.robustness.measure_stability import measure_stability
from xalign.robustness.perturb import Perturbed, perturb
from xalign.robustness.perturbations import PERTURBATIONS, Given, Perturbation
from xalign.robustness.robustness import Robustness

__all__ = [
    "PERTURBATIONS",
    "Given",
    "LookAlikes",
    "Perturbation",
    "Perturbed",
    "Robustness",
    "Stability",
    "load_look_alikes",
    "measure_robustness",
    "measure_stability",
    "perturb",
]
