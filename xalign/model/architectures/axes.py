"""How a module lays out the states of tokens, and how they are turned into [batch, token, width] and back.

`any` is what is not known: rows where the states have two dimensions, else [batch, token, width].
"""

from typing import Literal

import torch
from torch import Tensor

Axes = Literal["batch token width", "token batch width", "batch width token", "rows", "any"]
_BATCH_TOKEN_WIDTH = 3


def axes_of(shape: torch.Size, dim: int, lines: int, tokens: int) -> Axes | None:
    """Return how states are laid out; None where they do not hold one row per token.

    Args:
        shape: Of the states.
        dim: The dimension that holds the width: -1 or 1.
        lines: Number of sentences.
        tokens: Number of tokens of each. It differs from `lines`, so that the two can be told apart.
    """
    if dim == 1 and len(shape) == _BATCH_TOKEN_WIDTH:
        return "batch width token" if (shape[0], shape[2]) == (lines, tokens) else None
    known: dict[tuple[int, ...], Axes] = {
        (lines, tokens): "batch token width",
        (tokens, lines): "token batch width",
        (lines * tokens,): "rows",
    }
    return known.get(tuple(shape[:-1]))


def to_tokens(states: Tensor, axes: Axes, tokens: torch.Size) -> Tensor:
    """Return states as [batch, token, width], where possible a view.

    Args:
        states: The states.
        axes: How they are laid out.
        tokens: Batch and token, for `rows`, which do not know them.
    """
    if axes == "token batch width":
        return states.transpose(0, 1)
    if axes == "batch width token":
        return states.transpose(1, 2)
    is_rows = axes == "rows" or (axes == "any" and states.dim() < _BATCH_TOKEN_WIDTH)
    return states.reshape(*tokens, -1) if is_rows and tokens else states


def from_tokens(states: Tensor, axes: Axes, shape: torch.Size) -> Tensor:
    """Return states [batch, token, width] as they are laid out, in the shape that they had."""
    if axes == "token batch width":
        return states.transpose(0, 1)
    if axes == "batch width token":
        return states.transpose(1, 2)
    return states.reshape(shape)
