"""`Place`: where in a given model a site is; and all places of one block."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from xalign.model.architectures.axes import Axes
from xalign.model.architectures.expert_order import Order


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts that the sites of a mixture belong to.

    Attributes:
        count: How many there are.
        order: In which order the module computes the rows of tokens, as it was proved; None where what runs
            it says so itself.
        gate: Which columns of what `_apply_gate` takes are the gate; None where there is no such function.
    """

    count: int
    gate: slice | None = None
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site is: which side of which module, and which part of its tensor.

    Attributes:
        module: The module to hook.
        path: Its path, seen from the model that was mapped.
        side: Whether the site is the module's input or its output.
        width: Size of the site's last dimension.
        columns: Which columns of the tensor are the site; None for all. Gate and up may be one matrix.
        axes: How the module lays out the states of the tokens.
        call: Which call of the module in a forward the site is, from 0.
        calls: How often the module is called in a forward. More than once where blocks share weights.
        experts: Of sites of experts: how many there are. `width` is that of all of them together.
    """

    module: nn.Module
    path: str
    side: Literal["input", "output"]
    width: int
    columns: slice | None = None
    axes: Axes = "batch token width"
    call: int = 0
    calls: int = 1
    experts: Experts | None = None

    def __str__(self) -> str:
        """Like `output of layers.0.mlp.gate_up_proj (80, columns 0 to 79)`."""
        width = self.width // self.experts.count if self.experts is not None else self.width
        cut = "" if self.columns is None else f", {_named(self.columns, width)}"
        which = f", call {self.call + 1} of {self.calls}" if self.calls > 1 else ""
        if self.experts is not None:
            return f"inside {self.path} ({self.experts.count} experts × {width}{cut}{which})"
        return f"{self.side} of {self.path or 'the model itself'} ({self.width}{cut}{which})"


def _named(columns: slice, width: int) -> str:
    known = {(0, width, 1): "first half", (width, None, 1): "second half"}
    start, step = columns.start or 0, columns.step or 1
    every = f"every {step}. column from {start}"
    return known.get((start, columns.stop, step), every if step > 1 else f"columns from {start}")


# Where activation functions are asked whether they keep the sign.
_GRID = torch.logspace(-4, 1.7, 60)


@dataclass(frozen=True)
class Activation:
    """The activation function of a feed-forward network.

    Attributes:
        function: The function.
        module: The module that it is; None where functions of torch compute it.
        name: What it is called.
    """

    function: Callable[[Tensor], Tensor]
    module: nn.Module | None
    name: str

    def __call__(self, values: Tensor) -> Tensor:
        """Compute the function."""
        return self.function(values)

    @cached_property
    def keeps_sign(self) -> bool:
        """Whether it is positive exactly where its input is, on a grid up to ±50."""
        grid = torch.cat([-_GRID, torch.zeros(1), _GRID]).unsqueeze(-1)
        try:
            with torch.no_grad():
                return torch.equal(self.function(grid) > 0, grid > 0)
        except (
            RuntimeError,
            ValueError,
        ):  # a function with weights of its own, on another device or per neuron
            return False


@dataclass(frozen=True, slots=True)
class BlockPlaces:
    """All places of one block.

    Attributes:
        module: The block.
        path: Its path.
        places: Kind -> the places of this kind, in the order of the forward.
        activations: The activation function of each feed-forward network; None where it is not seen.
        expert_activations: The same of each mixture of experts.
        refused: Kind -> why there is no place of this kind.
        notes: What was proved, as a line for people.
    """

    module: nn.Module
    path: str
    places: dict[str, tuple[Place, ...]]
    activations: tuple[Activation | None, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    notes: str = ""
    expert_activations: tuple[Activation | None, ...] = ()


@dataclass(frozen=True, slots=True)
class StackPlaces:
    """All places of one stack of blocks.

    Attributes:
        name: What sites call it.
        blocks: Its blocks, in the order in which they run.
        embed: The input of the first block.
        final: The final state.
        width: Width of what the blocks add to the residual stream.
        has_hidden: Whether the states of all blocks are known; else `embed` and `final` are no sites.
    """

    name: str
    blocks: tuple[BlockPlaces, ...]
    embed: Place
    final: Place
    width: int
    has_hidden: bool = True
