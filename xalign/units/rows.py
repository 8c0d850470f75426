"""`Rows`: columns seen as a sequence of units, each made when it is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from xalign.units.columns import KINDS_OF_UNITS, Columns, codes_in
from xalign.units.unit import Unit

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rows(Sequence[Unit]):
    """The rows of a set, or of one of its sites, as `Unit` objects. It equals a tuple of the same units.

    Attributes:
        columns: The same rows as arrays. For many rows they are far faster.
    """

    columns: Columns

    @classmethod
    def of(cls, units: Iterable[Unit]) -> "Rows":
        """Return units as rows, without checking them."""
        if isinstance(units, cls):
            return units
        given = list(units)
        labels, sites = ([*dict.fromkeys(getattr(one, of) for one in given)] for of in ("label", "site"))
        label, site = (
            codes_in(labels, [one.label for one in given]),
            codes_in(sites, [one.site for one in given]),
        )
        index = np.array([one.index for one in given], np.int64)
        score, value = (
            np.array([getattr(one, of) for one in given], np.float64) for of in ("score", "value")
        )
        kind = codes_in(KINDS_OF_UNITS, [one.kind for one in given])
        return cls(Columns.of(labels, sites, label, site, index, score, value, kind))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns)

    @overload
    def __getitem__(self, at: int) -> Unit: ...
    @overload
    def __getitem__(self, at: slice) -> "Rows": ...
    def __getitem__(self, at: int | slice) -> "Unit | Rows":
        """Return a row, or some of them."""
        if isinstance(at, slice):
            return Rows(self.columns.take(at))
        where = range(len(self))[at]
        (unit,) = self._units(slice(where, where + 1))
        return unit

    def __iter__(self) -> Iterator[Unit]:
        """Iterate over the rows."""
        for start in range(0, len(self), _AT_ONCE):
            yield from self._units(slice(start, start + _AT_ONCE))

    def __eq__(self, other: object) -> bool:
        """Return whether the other holds the same rows in the same order."""
        if isinstance(other, Rows):
            return self.columns.equals(other.columns)
        if isinstance(other, tuple | list):
            return len(self) == len(other) and all(
                mine == theirs for mine, theirs in zip(self, other, strict=True)
            )
        return NotImplemented

    def __hash__(self) -> int:
        """Return the hash of the tuple of the same units."""
        return hash(tuple(self))

    def __repr__(self) -> str:
        """Show the units, or the first and how many there are."""
        shown = ", ".join(map(repr, self[:3]))
        return f"Rows({shown}{f', … {len(self)} rows' if len(self) > 3 else ''})"

    def _units(self, rows: slice) -> Iterator[Unit]:
        columns = self.columns
        numbers = (column[rows].tolist() for column in columns.arrays)
        for label, site, index, score, value, kind in zip(*numbers, strict=True):
            yield Unit(columns.labels[label], columns.sites[site], index, score, value, KINDS_OF_UNITS[kind])
