"""What a function does to numbers, found out with numbers.

A function works on each coordinate alone if mixing the coordinates of two inputs at random mixes its two
outputs in the same way. The names of the operations inside do not matter.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")
# Of values in float64. A difference that a function makes is many orders larger.
_ROUNDING = 1e-9


def works_on_each_coordinate(
    function: Callable[[dict[Key, Tensor]], Tensor], rows: int, width: int, names: Mapping[Key, object]
) -> bool:
    """Return whether a function of several inputs [rows, width] works on each coordinate alone.

    Args:
        function: Name -> input, to output [rows, width].
        rows: Number of rows of each input.
        width: Number of coordinates of each input.
        names: The names of the inputs.
    """
    generator = torch.Generator().manual_seed(0)
    one, other = (_draw(names, rows, width, generator) for _ in range(2))
    mask = torch.rand(rows, width, generator=generator) < 0.5  # noqa: PLR2004
    mixed = {name: torch.where(mask, one[name], other[name]) for name in names}
    found, expected = function(mixed), torch.where(mask, function(one), function(other))
    return torch.allclose(found, expected, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True)


def is_straight_in(
    function: Callable[[dict[Key, Tensor]], Tensor],
    name: Key,
    rows: int,
    width: int,
    names: Mapping[Key, object],
) -> bool:
    """Return whether a function is linear, up to an offset, in one of its inputs while the others are held.

    Args:
        function: Name -> input, to output [rows, width].
        name: The input.
        rows: Number of rows of each input.
        width: Number of coordinates of each input.
        names: The names of the inputs.
    """
    generator = torch.Generator().manual_seed(1)
    held, other = (_draw(names, rows, width, generator) for _ in range(2))
    ends = function(held), function(held | {name: other[name]})
    middle = function(held | {name: (held[name] + other[name]) / 2})
    expected = (ends[0] + ends[1]) / 2
    return torch.allclose(middle, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def _draw(
    names: Mapping[Key, object], rows: int, width: int, generator: torch.Generator
) -> dict[Key, Tensor]:
    return {name: torch.randn(rows, width, dtype=torch.float64, generator=generator) * 1.5 for name in names}
