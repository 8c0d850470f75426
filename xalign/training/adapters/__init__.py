"""Adapters: small parts of a model that are trained while the rest stays as it is."""

from xalign.training.adapters.train_units import TrainedUnits, train_units

__all__ = ["TrainedUnits", "train_units"]
