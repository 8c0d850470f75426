"""Which modules a trace takes as a whole: projections, and the experts of a mixture."""

from torch import nn

from xalign.model.architectures.graph import Projection


def projection_of(module: nn.Module, path: str) -> Projection | None:
    """Return what a module projects if it is a Linear: of torch, of GPT-2, or one that stands for such.

    A Linear with an adapter, or with quantised weights, says its widths as a Linear does, and is taken as a whole.
    """
    if hasattr(module, "nf") and hasattr(module, "nx"):
        return Projection(path, int(module.nx), int(module.nf))  # type: ignore[arg-type]
    if isinstance(module, nn.Conv1d):
        is_pointwise = module.kernel_size == (1,) and module.stride == (1,) and module.groups == 1
        return Projection(path, module.in_channels, module.out_channels, dim=1) if is_pointwise else None
    widths = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(widths[0], int) and isinstance(widths[1], int):
        return Projection(path, widths[0], widths[1])
    return None


def is_experts(module: nn.Module) -> bool:
    """Return whether a module holds experts behind the interface of transformers, which marks it like this."""
    return all(hasattr(module, name) for name in ("has_gate", "has_bias", "is_transposed"))
