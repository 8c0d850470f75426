"""`explain`: what a kernel computed that torch does not show, found by its values.

A kernel for activation and product in one, such as those of Liger, is a function of its own. The graph of the
forward has a gap there: the input of the down projection comes from nowhere.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Head = tuple[int, slice]  # a projection, and columns of what it gives

ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    F.silu,
    F.gelu,
    partial(F.gelu, approximate="tanh"),
    F.relu,
)
_LARGEST_ERROR = {torch.float32: 1e-4, torch.float64: 1e-4}  # relative; of narrower types, _OF_NARROW
_OF_NARROW = 2e-2


def explain(
    inner: Tensor, projected: Mapping[int, Tensor]
) -> tuple[Callable[[Tensor], Tensor], Head, Head | None] | None:
    """Find the activation, the gate and the projection beside it, if any, that give some states.

    Args:
        inner: The states.
        projected: What projections have given before, by a number of each.

    Returns:
        The activation, the gate, and the other projection, of those that come closest; None where none do.
    """
    wanted = inner.reshape(-1, inner.shape[-1]).float()
    heads = [
        (head, values.float()) for index in projected for head, values in _heads(index, projected, inner)
    ]
    best, least = None, _LARGEST_ERROR.get(inner.dtype, _OF_NARROW)
    for gate, gate_values in heads:
        for activation in ACTIVATIONS:
            acted = activation(gate_values)
            others = [(up, acted * values) for up, values in heads if up is not gate]
            for up, found in ((None, acted), *others):
                error = _relative(found, wanted)
                if error < least:
                    best, least = (activation, gate, up), error
    return best


def _heads(index: int, projected: Mapping[int, Tensor], inner: Tensor) -> Iterator[tuple[Head, Tensor]]:
    """Yield what has the width of the neurons: a whole projection, either half, every second column."""
    values = projected[index]
    width = inner.shape[-1]
    if values.numel() // values.shape[-1] != inner.numel() // width:
        return
    rows = values.reshape(-1, values.shape[-1])
    halves = [slice(0, width), slice(width, None), slice(0, None, 2), slice(1, None, 2)]
    for columns in {width: [slice(None)], 2 * width: halves}.get(values.shape[-1], []):
        yield (index, columns), rows[:, columns]


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
