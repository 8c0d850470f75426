"""Random controls of the same size: other units, vectors turned in space, and random rotations."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.model.architectures.sites import Site


def generator_of(seed: int, *names: object) -> torch.Generator:
    """Return a random number generator for a seed and names, such as a language and a site.

    Other names give other numbers, so that the controls of two languages do not move both in the same way.
    """
    key = " ".join(map(str, (whole_number("seed", seed), *names)))
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])
    return torch.Generator().manual_seed(number)


def other_units(
    units: Int[Tensor, " unit"], width: int, site: Site, generator: torch.Generator
) -> Int[Tensor, " unit"]:
    """Return as many other units of a site, in random order.

    Raises:
        ArgumentError: More than half of the units are taken, so that too few others are left.
    """
    is_free = torch.ones(width, dtype=torch.bool)
    is_free[units] = False
    free = is_free.nonzero().squeeze(1)
    if len(free) < len(units):
        raise ArgumentError(
            f"{len(units)} of the {width} units of site {site} are changed; there are not as many others to "
            "compare with: choose fewer units"
        )
    return free[torch.randperm(len(free), generator=generator)[: len(units)]]


def rotation(width: int, generator: torch.Generator) -> Float[Tensor, "width width"]:
    """Return a random rotation or reflection, in float64: rows keep their lengths and angles under it."""
    noise = torch.randn(width, width, generator=generator, dtype=torch.float64)
    orthogonal, triangle = torch.linalg.qr(noise)
    turn: Tensor = orthogonal * triangle.diagonal().sign()
    return turn


def turned(
    vectors: Sequence[Float[Tensor, " width"]], generator: torch.Generator
) -> list[Float[Tensor, " width"]]:
    """Return random vectors with the lengths of the given ones, and the angles between them.

    Example:
        >>> one, other = turned([torch.ones(8), -2 * torch.ones(8)], torch.Generator().manual_seed(0))
        >>> torch.allclose(other, -2 * one), round(float(one.norm()), 4)
        (True, 2.8284)
    """
    given = torch.stack(list(vectors)).double()
    own, coordinates = torch.linalg.qr(given.T)
    noise = torch.randn(given.shape[1], own.shape[1], generator=generator, dtype=torch.float64)
    drawn, _ = torch.linalg.qr(noise)
    return list((drawn @ coordinates).T.to(vectors[0].dtype))
