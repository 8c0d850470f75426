"""Ways to change sentences: `PERTURBATIONS` maps each name to its `Perturbation`."""

from xalign.robustness.perturbations.entities import ENTITIES
from xalign.robustness.perturbations.negation import NEGATION
from xalign.robustness.perturbations.numbers import NUMBERS
from xalign.robustness.perturbations.perturbation import Given, Perturbation
from xalign.robustness.perturbations.typos import TYPOS
from xalign.robustness.perturbations.word_order import WORD_ORDER

PERTURBATIONS = {one.name: one for one in (ENTITIES, NUMBERS, NEGATION, WORD_ORDER, TYPOS)}

__all__ = ["PERTURBATIONS", "Given", "Perturbation"]
