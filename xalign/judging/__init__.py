"""Judge what steering does, beside controls."""

from xalign.judging.answers import Answers, agreement, answer_items
from xalign.judging.calibrate import calibrate
from xalign.judging.controls import random_units, shuffled_texts
from xalign.judging.evaluate import evaluate
from xalign.judging.identify import LanguageIdentifier, identify_language
from xalign.judging.langid import ManyLanguages
from xalign.judging.lexicon import WordComparison, compare_words

__all__ = [
    "Answers",
    "LanguageIdentifier",
    "ManyLanguages",
    "WordComparison",
    "agreement",
    "answer_items",
    "calibrate",
    "compare_words",
    "evaluate",
    "identify_language",
    "random_units",
    "shuffled_texts",
]
