"""The one tensor of what a module was given, and of what it returned, that a site stands for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a module was given first: the states, in every transformers model."""
    return args[0] if args else next(iter(kwargs.values()), None)


def states_in(output: Any) -> Any:
    """Return the states in what a module returned: alone, first among others, or named by a whole model."""
    if isinstance(output, Mapping):
        return output[_LAST] if _LAST in output else next(iter(output.values()), None)
    if isinstance(output, tuple | list):
        return output[0] if output else None
    return output


def output_of(output: Any) -> Tensor | None:
    """Return the states in what a module returned; None where it returned no tensor."""
    states = states_in(output)
    return states if isinstance(states, Tensor) else None


def with_states(output: Any, states: Tensor) -> Any:
    """Return what a module returned, with other states in it."""
    if isinstance(output, Mapping):
        name = _LAST if _LAST in output else next(iter(output))
        return type(output)(**{**output, name: states})
    if isinstance(output, list):
        return [states, *output[1:]]
    return (states, *output[1:]) if isinstance(output, tuple) else states


def with_columns(whole: Tensor, columns: slice, new: Tensor) -> Tensor:
    """Return states in which some columns are replaced by others."""
    if columns.step in (None, 1):
        stop = whole.shape[-1] if columns.stop is None else columns.stop
        parts = whole[..., : columns.start or 0], new, whole[..., stop:]
        return torch.cat([part for part in parts if part.shape[-1]], dim=-1)
    changed = whole.clone()
    changed[..., columns] = new
    return changed


def is_of_whole_model(output: Any) -> bool:
    """Return whether this is what a whole model of transformers returns: states with a name."""
    return isinstance(output, Mapping) and _LAST in output


_LAST = "last_hidden_state"
