"""The weights of a model that can be read as they are: whole, in memory, in a plain tensor."""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from xalign.model.architectures.program import NotReplayable, Weights
from xalign.model.class_forwards import runs_its_class


def is_resident(tensor: Tensor) -> bool:
    """Return whether a weight can be read: not split between processes, not offloaded, not quantised."""
    is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    return is_plain and not tensor.is_meta and not tensor.is_quantized


def weights_of(model: nn.Module, dtype: torch.dtype | None = None) -> Weights:
    """Return a function from a path to the parameter or buffer there.

    Args:
        model: The model.
        dtype: What floating-point weights are turned into, on the CPU; None leaves them as they are.
    """

    def weight(path: str) -> Tensor:
        owner, _, name = path.rpartition(".")
        tensor: Tensor = getattr(model.get_submodule(owner), name)
        if not is_resident(tensor):
            raise NotReplayable(f"the weight {path} is split, offloaded or quantised")
        tensor = tensor.detach()
        return tensor.to("cpu", dtype) if dtype is not None and tensor.is_floating_point() else tensor

    return weight


def projected(module: nn.Module, states: Tensor) -> Tensor | None:
    """Return what a projection makes of states, from its weights alone; None where these cannot be read.

    Adapters and quantised layers are not asked: what they compute is not in their weights alone.
    """
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if type(module) not in (nn.Linear, Conv1D, nn.Conv1d) or not isinstance(weight, Tensor):
        return None
    if not is_resident(weight) or (isinstance(bias, Tensor) and not is_resident(bias)):
        return None
    if not runs_its_class(module):
        return None
    if isinstance(module, nn.Conv1d):
        return nn.functional.conv1d(states, weight, bias)
    if isinstance(module, nn.Linear):
        return nn.functional.linear(states, weight, bias)
    rows = torch.addmm(bias, states.reshape(-1, states.shape[-1]), weight)  # type: ignore[arg-type]
    return rows.reshape(*states.shape[:-1], rows.shape[-1])
