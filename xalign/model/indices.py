"""`Indices`: many whole numbers as an array that reads as a list; and the check that a site has them."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from xalign.errors import ArgumentError


class Indices(Sequence[int]):
    """Whole numbers in an array. It equals a list of the same numbers, and is shown as one.

    Attributes:
        array: The numbers.
    """

    def __init__(self, array: Int[np.ndarray[Any, Any], " index"]) -> None:
        """Keep a copy, which nobody else can change."""
        self.array = np.array(array, np.int64)
        self.array.flags.writeable = False

    def tensor(self) -> Int[Tensor, " index"]:
        """Return them as a tensor."""
        return torch.from_numpy(self.array.copy())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.array)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> "Indices": ...
    def __getitem__(self, at: int | slice) -> "int | Indices":
        """Return one of them, or some."""
        return Indices(self.array[at]) if isinstance(at, slice) else int(self.array[at])

    def __iter__(self) -> Iterator[int]:
        """Iterate over them."""
        return iter(self.array.tolist())

    def __eq__(self, other: object) -> bool:
        """Return whether the other holds the same numbers in the same order."""
        if isinstance(other, Indices):
            return np.array_equal(self.array, other.array)
        return self.array.tolist() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        """Show them as a list; of many, the first."""
        shown = ", ".join(map(str, self.array[:8].tolist()))
        return f"[{shown}{f', … {len(self)} in all' if len(self) > 8 else ''}]"


def check_inside(site: object, width: int, *indices: Tensor | np.ndarray[Any, Any]) -> None:
    """Raise an error for units that a site does not have.

    Args:
        site: The site, for the message.
        width: How many units it has.
        *indices: The units.

    Raises:
        ArgumentError: One is below 0, or at least `width`.
    """
    outside = [int(one) for found in indices for one in found[(found < 0) | (found >= width)][:8]]
    if outside:
        raise ArgumentError(f"units {outside} are outside site {site}, which has {width} units from 0")
