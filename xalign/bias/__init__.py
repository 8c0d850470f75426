"""Bias: measured by association and by likelihood, in every language, before a remedy and after it."""

from xalign.bias.bias_list import BiasList, WordSets, load_bias_list
from xalign.bias.debiasing import Debiasing
from xalign.bias.judge_debiasing import judge_debiasing
from xalign.bias.likelihood_gaps import LikelihoodGap, likelihood_gaps
from xalign.bias.seat import Association, seat

__all__ = [
    "Association",
    "BiasList",
    "Debiasing",
    "LikelihoodGap",
    "WordSets",
    "judge_debiasing",
    "likelihood_gaps",
    "load_bias_list",
    "seat",
]
