"""Whether padding changes what a model makes of a recording."""

from collections.abc import Sequence

import torch
from torch import nn

from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Pool, Reading
from xalign.model.batches import Batch
from xalign.model.read import read_states

_POOLS: tuple[Pool, ...] = ("mean", "last")  # the last real frame is the nearest to the padding
# Of the largest state. In half precision a few roundings more are allowed.
_TOLERANCE, _ROUNDINGS = 1e-5, 8


def padding_changes_states(model: nn.Module, together: Batch, alone: Sequence[Batch]) -> bool:
    """Run recordings together and alone, and return whether the states of their real frames differ.

    They do in wav2vec2 models with a group norm over time, which takes the padding in, and where convolutions
    carry it into the last frames.

    Args:
        model: The model.
        together: Recordings of different lengths in one batch.
        alone: The same, each in a batch of its own.
    """
    model_map = map_model(model)
    if model_map.refused("hidden"):
        return True
    readings = [Reading(model_map.sites("hidden")[-1], "value", pool) for pool in _POOLS]
    padded, own = (read_states(model, batches, readings) for batches in ([together], alone))
    tolerance = max(_TOLERANCE, _ROUNDINGS * torch.finfo(model_map.dtype).eps)
    return any(
        bool((padded[one] - own[one]).abs().max() > tolerance * own[one].abs().max()) for one in readings
    )
