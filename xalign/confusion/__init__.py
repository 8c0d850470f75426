"""Language confusion: whether a model answers in the language it should, where it slips, and what helps."""

from xalign.confusion.answers import Prompt, answer_prompts
from xalign.confusion.cleaning import english_words, word_tokens
from xalign.confusion.comparison import Comparison, compare_answers
from xalign.confusion.points import ConfusionPoint, confusion_points
from xalign.confusion.prompts import read_answers, read_prompts
from xalign.confusion.rates import Answer, Confusion, Rates, language_confusion
from xalign.confusion.shifts import answer_shifts
from xalign.confusion.trial import Trial, TrialOptions, try_answers

__all__ = [
    "Answer",
    "Comparison",
    "Confusion",
    "ConfusionPoint",
    "Prompt",
    "Rates",
    "Trial",
    "TrialOptions",
    "answer_prompts",
    "answer_shifts",
    "compare_answers",
    "confusion_points",
    "english_words",
    "language_confusion",
    "read_answers",
    "read_prompts",
    "try_answers",
    "word_tokens",
]
