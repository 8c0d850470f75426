"""What the gate of experts is: which columns, and what activation function acts on it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_ROWS, _POINTS = 7, (0.5, -0.25)


def gate_columns(module: nn.Module, width: int) -> tuple[slice, slice]:
    """Return the columns of the gate and of what it is multiplied by, in what `_apply_gate` takes.

    The activation function acts on the gate, and the neurons are linear in the rest. Where they are linear in
    neither, the gate stands first, as in transformers.
    """
    halves = slice(0, width), slice(width, None)
    first, second = halves if module.is_concatenated else (slice(0, None, 2), slice(1, None, 2))
    if is_linear_in(module, second, width) or not is_linear_in(module, first, width):
        return first, second
    return second, first


def is_linear_in(module: nn.Module, columns: slice, width: int) -> bool:
    """Return whether the neurons are linear in small values of some columns of what `_apply_gate` takes."""
    draw = torch.Generator().manual_seed(0)
    other = torch.randn(_ROWS, 2 * width, generator=draw, dtype=torch.float64)
    found = {one: _applied(module, _put(other, columns, one)) for one in (0.0, 1.0, *_POINTS)}
    slope = found[1.0] - found[0.0]
    return all(torch.allclose(found[at], found[0.0] + at * slope, rtol=1e-6, atol=1e-9) for at in _POINTS)


def activated(module: nn.Module, columns: slice, values: Tensor) -> Tensor:
    """Return the activated gate: what the neurons grow by for each unit that it is multiplied by."""
    whole = values.new_empty(*values.shape[:-1], 2 * values.shape[-1])
    width = values.shape[-1]
    own = columns if columns.step else slice(width, None) if columns.start else slice(0, width)
    rest = (
        slice(1 - (own.start or 0), None, 2)
        if own.step
        else slice(0, width)
        if own.start
        else slice(width, None)
    )
    whole[..., own] = values
    apply: Callable[[Tensor], Tensor] = module._apply_gate  # type: ignore[assignment]
    return apply(_put(whole, rest, 1.0)) - apply(_put(whole, rest, 0.0))


def _put(states: Tensor, columns: slice, value: float) -> Tensor:
    states = states.clone()
    states[..., columns] = value
    return states


def _applied(module: nn.Module, states: Tensor) -> Tensor:
    apply: Callable[..., Any] = module._apply_gate  # type: ignore[assignment]
    made: Tensor = apply(states)
    return made.double()
