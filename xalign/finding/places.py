"""`Places`: the units of several sites, numbered one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from xalign.model.architectures.sites import Site


@dataclass(frozen=True, slots=True)
class Places:
    """The units of several sites under one number each: those of the first site, then those of the next.

    Attributes:
        widths: Site -> how many units it has.

    Example:
        >>> places = Places({Site("inner", 0): 64, Site("inner", 1): 64})
        >>> [found.tolist() for found in places.of(torch.tensor([3, 64]))]
        [[0, 1], [3, 0]]
    """

    widths: Mapping[Site, int]

    @property
    def sites(self) -> list[Site]:
        """The sites."""
        return list(self.widths)

    def of(self, units: Int[Tensor, " unit"]) -> tuple[Int[Tensor, " unit"], Int[Tensor, " unit"]]:
        """Return the number of each unit's site, and its coordinate there."""
        ends = torch.tensor(list(self.widths.values())).cumsum(0)
        site = torch.searchsorted(ends, units, right=True)
        return site, units - (ends - torch.tensor(list(self.widths.values())))[site]
