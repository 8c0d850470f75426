"""`Columns`: the rows of a unit set as arrays, since a set may hold ten million of them."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from xalign.model.architectures.sites import Site

Name = TypeVar("Name", bound=Hashable)
Array = np.ndarray[Any, np.dtype[Any]]
COLUMNS = ("label", "site", "index", "score", "value", "kind")
KINDS_OF_UNITS = ("", "specific", "related", "general")
_CODE, _FEW = np.int32, 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Rows as arrays. The codes number labels and sites in the order of their first rows, without gaps.

    Attributes:
        labels: The labels.
        sites: The sites.
        label: Per row, the number of its label.
        site: Per row, the number of its site.
        index: Per row, the coordinate at the site.
        score: Per row, the score.
        value: Per row, the value.
        kind: Per row, the number of its kind in `KINDS_OF_UNITS`; 0 where it is not known.
    """

    labels: tuple[str, ...]
    sites: tuple[Site, ...]
    label: Int[Array, " row"]
    site: Int[Array, " row"]
    index: Int[Array, " row"]
    score: Float[Array, " row"]
    value: Float[Array, " row"]
    kind: Int[Array, " row"]

    @classmethod
    def of(cls, labels: Sequence[str], sites: Sequence[Site], *columns: Array) -> "Columns":
        """Return columns with codes as they must be, in arrays that nobody changes.

        Args:
            labels: Names that the codes may number; those of no row are left out.
            sites: The same for sites.
            *columns: Label and site codes, index, score and value, and kinds where they are known. They may
                be shared with the caller where they have the right data type already; give arrays that are
                not changed later.
        """
        label, site, index, score, value, *kinds = columns
        label_names, label = _numbered(labels, label)
        site_names, site = _numbered(sites, site)
        kept = (
            *(_kept(one, _CODE) for one in (label, site)),
            _kept(index, np.int64),
            *(_kept(one, np.float64) for one in (score, value)),
            _kept(kinds[0] if kinds else np.zeros(len(index)), np.int8),
        )
        return cls(label_names, site_names, *kept)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Label and site codes, index, score, value and kind."""
        return self.label, self.site, self.index, self.score, self.value, self.kind

    def take(self, rows: Shaped[Array, "..."] | slice) -> "Columns":
        """Return some rows: those of a slice, of a mask, or of their numbers."""
        return Columns.of(self.labels, self.sites, *(column[rows] for column in self.arrays))

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """Return the rows of several columns, one after the other."""
        labels = joined(*(part.labels for part in parts))
        sites = joined(*(part.sites for part in parts))
        codes = ((codes_in(labels, part.labels), codes_in(sites, part.sites)) for part in parts)
        found: list[tuple[Array, ...]] = [
            (label[part.label], site[part.site], part.index, part.score, part.value, part.kind)
            for part, (label, site) in zip(parts, codes, strict=True)
        ]
        empty = (np.zeros(0, _CODE),) * len(COLUMNS)
        return cls.of(labels, sites, *map(np.concatenate, zip(*found or [empty], strict=True)))

    def equals(self, other: "Columns") -> bool:
        """Return whether all rows are equal, in the same order."""
        return (self.labels, self.sites) == (other.labels, other.sites) and all(
            np.array_equal(mine, theirs) for mine, theirs in zip(self.arrays, other.arrays, strict=True)
        )

    def groups(self, *, by_label: bool = False, by_site: bool = False) -> Iterator[Int[Array, " own"]]:
        """Yield the numbers of the rows of each label, each site, or each label at each site."""
        code = np.zeros(len(self), np.int64)
        if by_label:
            code += self.label
        if by_site:
            code = code * len(self.sites) + self.site
        # numpy sorts codes of 16 bits by counting them.
        few = code.max(initial=0) < _FEW
        order = np.argsort(code.astype(np.uint16) if few else code, kind="stable")
        ends = np.flatnonzero(np.diff(code[order])) + 1
        return (rows for rows in np.split(order, ends) if len(rows))

    def counts(self) -> dict[tuple[str, Site], int]:
        """Count the rows of each label at each site, in the order of their first rows."""
        found = {int(rows[0]): len(rows) for rows in self.groups(by_label=True, by_site=True)}
        return {
            (self.labels[self.label[first]], self.sites[self.site[first]]): found[first]
            for first in sorted(found)
        }


def _kept(column: Array, dtype: type[np.generic]) -> Array:
    """Return a column that cannot be written to."""
    view = np.asarray(column, dtype).view()
    view.flags.writeable = False
    return view


def joined(*names: Sequence[Name]) -> tuple[Name, ...]:
    """Return the names of several lists, each once."""
    return tuple(dict.fromkeys(name for some in names for name in some))


def codes_in(names: Sequence[Name], wanted: Sequence[Name]) -> Int[Array, " wanted"]:
    """Return the numbers that some names have among others."""
    number = {name: code for code, name in enumerate(names)}
    return np.array([number[name] for name in wanted], _CODE)


def _numbered(names: Sequence[Name], codes: Int[Array, " row"]) -> tuple[tuple[Name, ...], Array]:
    """Return the names that some row has, in the order of their first rows, and their numbers per row."""
    first = np.full(len(names), len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    order = np.argsort(first, kind="stable")
    order = order[first[order] < len(codes)]
    if np.array_equal(order, np.arange(len(names))):
        return tuple(names), codes
    number = np.zeros(len(names), _CODE)
    number[order] = np.arange(len(order))
    return tuple(names[place] for place in order), number[codes]


def are_best(score: Float[Array, " row"], k: int) -> Bool[Array, " row"]:
    """Return per row whether its score is among the k highest; of equal scores the earlier row."""
    if len(score) <= k:
        return np.ones(len(score), bool)
    last = np.partition(score, len(score) - k)[len(score) - k]
    kept: Bool[Array, " row"] = score > last
    ties = np.flatnonzero(score == last)
    kept[ties[: k - int(kept.sum())]] = True
    return kept
