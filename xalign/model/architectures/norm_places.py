"""Norms of the residual stream: which modules they are, and where."""

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.architectures.places import Place

_TOLERANCE = 1e-3


def norm_paths(model: nn.Module, width: int) -> list[str]:
    """Return the paths of the modules that normalise states of a width, each token by itself."""
    return [path for path, module in model.named_modules() if is_stream_norm(module, width)]


def norm_place(model: nn.Module, path: str, widths: tuple[int, ...]) -> Place:
    """Return where a norm gives its values.

    Args:
        model: The model.
        path: The path of the norm.
        widths: The widths that its streams have.

    Raises:
        ModelError: There is no such module, or it is no norm of a stream.
    """
    found = dict(model.named_modules()).get(path)
    width = next((one for one in widths if found is not None and is_stream_norm(found, one)), None)
    if found is None or width is None:
        what = "there is no such module" if found is None else f"{type(found).__name__} is none"
        raise ModelError(
            f"site norm:{path}: {what}; map_model(model).sites('norm') lists the norms of the residual stream"
        )
    return Place(found, path, "output", width, axes="any")


def is_stream_norm(module: nn.Module, width: int) -> bool:
    """Return whether a module is a norm of states of a width: by its weights, and by what it computes.

    Its weights, if it has any, are vectors of that width, as those of the norms of queries and keys are not.
    It gives each token's states a size that does not depend on theirs.
    """
    weights = list(module.parameters())
    # A module with submodules is more than a norm, and one with buffers may change them when it runs.
    if any(True for _ in module.children()) or any(True for _ in module.buffers()):
        return False
    if "norm" not in type(module).__name__.lower() or any(one.is_meta for one in weights):
        return False
    if any(tuple(one.shape) not in ((width,), ()) for one in weights):
        return False
    dtype = next((one.dtype for one in weights if one.is_floating_point()), torch.float32)
    device = next((one.device for one in weights), torch.device("cpu"))
    states = torch.linspace(-1, 2, width, dtype=torch.float64).sin().repeat(1, 2, 1) * 8
    states = states.to(device=device, dtype=dtype)
    states[:, 1] *= 16
    return _ignores_size(module, states)


@torch.no_grad()
def _ignores_size(norm: nn.Module, states: Tensor) -> bool:
    """Return whether a module gives the same for the two tokens of states, one of them 16 times as large."""
    try:
        made = norm.forward(states)
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return False
    if not isinstance(made, Tensor) or made.shape != states.shape:
        return False
    small, large = made[0].double()
    return bool((small - large).norm() <= max(_TOLERANCE, 8 * torch.finfo(made.dtype).eps) * large.norm())
