"""What a module is, by what it says of itself: a projection, or the experts of a mixture."""

from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.graph import Projection


def projection_of(module: nn.Module, path: str) -> Projection | None:
    """Return what a module projects if it is a Linear: of torch, of GPT-2, or one that stands for such.

    A Linear with an adapter, or with quantised weights, says its widths as a Linear does, and is one.
    """
    if isinstance(module, nn.Conv1d):
        is_pointwise = module.kernel_size == (1,) and module.stride == (1,) and module.groups == 1
        return Projection(path, module.in_channels, module.out_channels, dim=1) if is_pointwise else None
    widths = _said(module)
    return None if widths is None else Projection(path, *widths)


def is_linear(module: nn.Module) -> bool:
    """Return whether a module says how wide its input and its output are, as a Linear does."""
    return _said(module) is not None


def _said(module: nn.Module) -> tuple[int, int] | None:
    """Return the widths that a Linear, or GPT-2's Conv1D, says of itself."""
    of_linear = getattr(module, "in_features", None), getattr(module, "out_features", None)
    for one, other in (of_linear, (getattr(module, "nx", None), getattr(module, "nf", None))):
        # LN-tuned norms have the names too, and no number behind them.
        if isinstance(one, int) and isinstance(other, int):
            return one, other
    return None


def widths_of(module: nn.Module) -> tuple[int, int]:
    """Return (in, out) of an nn.Linear, a Conv1D, or a wrapper of one by peft or bitsandbytes.

    Raises:
        ModelError: The module does not say how wide it is.
    """
    projection = projection_of(module, "")
    if projection is None:
        raise ModelError(
            f"{type(module).__name__} does not say how wide it is: it has no in_features and out_features as "
            "a Linear has; register a layout whose gate and down are Linear"
        )
    return projection.width_in, projection.width_out


def is_experts(module: nn.Module) -> bool:
    """Return whether a module holds experts behind the interface of transformers, which marks it."""
    return all(hasattr(module, name) for name in ("has_gate", "has_bias", "is_transposed"))
