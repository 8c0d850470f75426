"""Losses: pure functions of tensors that bring translations together, and the `Loss` objects known by name.

A new loss is a file with its function and its `Loss`, and one line in `LOSSES`.
"""

from xalign.losses.contrastive import CONTRASTIVE
from xalign.losses.cosine import COSINE
from xalign.losses.loss import Loss
from xalign.losses.neuron_state import NEURON_STATE

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CONTRASTIVE, COSINE, NEURON_STATE)}
