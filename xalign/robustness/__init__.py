"""Robustness of alignment: to other sentences, and to sentences that were changed."""

from xalign.results.stability import Stability
from xalign.robustness.measure_stability import measure_stability
from xalign.robustness.perturb import Perturbed, perturb
from xalign.robustness.perturbations import PERTURBATIONS, Perturbation

__all__ = ["PERTURBATIONS", "Perturbation", "Perturbed", "Stability", "measure_stability", "perturb"]
