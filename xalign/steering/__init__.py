"""Finding the units that carry a language, changing exactly them, and proving what changed."""

from xalign.steering.calibrate import calibrate
from xalign.steering.controls import random_units, shuffled_texts
from xalign.steering.evaluate import evaluate
from xalign.steering.find import find_units
from xalign.steering.identify import LanguageIdentifier, identify_language
from xalign.steering.language_means import language_means
from xalign.steering.mean_difference import mean_difference
from xalign.steering.steer import steer

__all__ = [
    "LanguageIdentifier",
    "calibrate",
    "evaluate",
    "find_units",
    "identify_language",
    "language_means",
    "mean_difference",
    "random_units",
    "shuffled_texts",
    "steer",
]
