"""`Places`: the units of several sites, numbered one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from xalign.model.architectures.sites import Site
from xalign.units.columns import COLUMNS
from xalign.units.unit_set import UnitSet


@dataclass(frozen=True, slots=True)
class Places:
    """The units of several sites, each with one number: those of the first site, then those of the next.

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

    def unit_set(
        self, labels: Sequence[str], chosen: Sequence[tuple[Tensor, ...]], provenance: Mapping[str, Any]
    ) -> UnitSet:
        """Return the set of the units chosen for each label.

        Args:
            labels: The labels.
            chosen: Per label the numbers of its units, their scores, their values, and their kinds where they
                are known.
            provenance: Where they come from.
        """
        parts = [
            (torch.full_like(units, number), *self.of(units), *rest)
            for number, (units, *rest) in enumerate(chosen)
        ]
        names = COLUMNS[: len(parts[0])]
        columns = dict(zip(names, map(torch.cat, zip(*parts, strict=True)), strict=True))
        return UnitSet.from_columns(labels, self.sites, **columns, provenance=provenance)
