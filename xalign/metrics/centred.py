"""States minus their mean, in float64, with rounding residues set to exactly 0."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError

_ROUNDING = 1e-12


def centred(states: Float[Tensor, "pair width"]) -> Float[Tensor, "pair width"]:
    """Return states minus their mean over sentences.

    A dimension that is the same in all sentences becomes exactly 0. Otherwise its rounding residue would be
    compared as if it meant something.

    Example:
        >>> centred(torch.tensor([[0.1, 1.0], [0.1, 3.0]])).tolist()
        [[0.0, -1.0], [0.0, 1.0]]
    """
    doubled = states.double()
    mean = doubled.mean(dim=0)
    apart = doubled - mean
    return apart * (apart.abs().amax(dim=0) > _ROUNDING * doubled.abs().amax(dim=0))


def check_states(pivot: Tensor, other: Tensor, least: int) -> int:
    """Return the number of pairs of two sides.

    Raises:
        ArgumentError: Different numbers of rows, or fewer than are needed.
    """
    if len(pivot) != len(other):
        raise ArgumentError(f"the sides have {len(pivot)} and {len(other)} rows; row i of both is pair i")
    if len(pivot) < least:
        raise ArgumentError(f"there are {len(pivot)} pair(s); at least {least} are needed")
    return len(pivot)


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return numerator / denominator, and 0 where the denominator is 0.

    Example:
        >>> quotient(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0])).tolist()
        [0.25, 0.0]
    """
    safe = torch.where(denominator > 0, denominator, torch.ones_like(denominator))
    return torch.where(denominator > 0, numerator / safe, torch.zeros_like(safe))
