"""Adapters: small parts of a model that are trained while the rest stays as it is."""

from xalign.training.adapters.combine import Searched, combine_adapters, search_weights
from xalign.training.adapters.language_adapters import LanguageAdapters
from xalign.training.adapters.train_units import TrainedUnits, train_units

__all__ = [
    "LanguageAdapters",
    "Searched",
    "TrainedUnits",
    "combine_adapters",
    "search_weights",
    "train_units",
]
