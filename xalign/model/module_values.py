"""The one tensor of what a module was given, and of what it returned, that a site stands for."""

from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a module was given first: the states, in every transformers model."""
    return args[0] if args else next(iter(kwargs.values()), None)


def states_in(output: Any) -> Tensor:
    """Return the states in what a module returned: alone, first in a tuple, or named by a whole model."""
    if isinstance(output, ModelOutput):
        return output["last_hidden_state"]  # type: ignore[no-any-return]
    return output[0] if isinstance(output, tuple | list) else output  # type: ignore[no-any-return]


def output_of(output: Any) -> Tensor | None:
    """Return the states in what a module returned; None where it returned none."""
    try:
        states = states_in(output)
    except (KeyError, IndexError):
        return None
    return states if isinstance(states, Tensor) else None
