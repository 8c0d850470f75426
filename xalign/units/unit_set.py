"""`UnitSet`: chosen coordinates of a model's sites, per label, with their scores and values."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.escape import markdown
from xalign.model.architectures.sites import Site
from xalign.pairs.languages import match_language
from xalign.schema import Fields, Provenance, Text, checked
from xalign.units.artefact import card_of, checked_provenance, load_artefact, push_artefact, save_artefact

_KIND = "xalign.UnitSet"
_COLUMNS = {
    "label": torch.int64,
    "site": torch.int64,
    "index": torch.int64,
    "score": torch.float64,
    "value": torch.float64,
}


class _UnitFields(Fields):
    labels: list[Text]
    sites: list[Text]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Unit:
    """One coordinate of a site, chosen for a label.

    Attributes:
        label: What it was chosen for, most often a language.
        site: Its site.
        index: Its coordinate at the site, from 0.
        score: How well it fits its label, in the terms of the method that found it. Higher is better.
        value: The value it takes on text of its label; steering sets it to this value.
    """

    label: str
    site: Site
    index: int
    score: float
    value: float

    @property
    def key(self) -> tuple[str, Site, int]:
        """Label, site and index: two rows with the same key are the same row."""
        return self.label, self.site, self.index

    @property
    def place(self) -> tuple[Site, int]:
        """Site and index."""
        return self.site, self.index


@dataclass(frozen=True)
class UnitSet:
    """Units of one model, for one label or several; a unit may be chosen for several.

    `units["deu_Latn"]` holds the units of one label. `len(units)` counts rows, and iterating yields them.
    `a | b` holds the units of either set, `a & b` those of both, `a - b` those of `a` that are not in `b`.
    Two units are the same for `&` and `-` if their site and index are, whatever their labels.

    Attributes:
        rows: The units, in the order given.
        provenance: Where they come from: model, revision, shape of the model, method, settings, fingerprint
            of the data.

    Example:
        >>> rows = [("deu_Latn", "1.inner", 7, 0.9, 2.5), ("spa_Latn", "1.inner", 7, 0.8, -1)]
        >>> units = UnitSet.from_rows(rows)
        >>> units
        UnitSet(deu_Latn 1, spa_Latn 1)
        >>> len(units["deu_Latn"] - units["spa_Latn"])
        0
    """

    rows: tuple[Unit, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[tuple[str, Site | str, int, float, float]],
        provenance: Mapping[str, Any] | None = None,
    ) -> "UnitSet":
        """Make a set of rows (label, site, index, score, value).

        Args:
            rows: The rows; a site may be text like `"3.inner"`.
            provenance: Where they come from.

        Raises:
            ArgumentError: A negative index, a score or value that is not finite, or a repeated row.
            ArgumentTypeError: A row that is not such a tuple.
        """
        if not isinstance(rows, Iterable) or not isinstance(provenance, Mapping | None):
            raise ArgumentTypeError("rows must be a list of rows, and provenance a mapping, or None")
        checked = tuple(_checked(row) for row in rows)
        twice = [key for key, count in Counter(row.key for row in checked).items() if count > 1]
        if twice:
            label, site, index = twice[0]
            raise ArgumentError(f"rows hold unit {index} of site {site} twice for {label!r}")
        return cls(checked, dict(provenance or {}))

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of their first rows."""
        return list(dict.fromkeys(row.label for row in self.rows))

    @property
    def places(self) -> set[tuple[Site, int]]:
        """Site and index of every unit, whatever its label."""
        return {row.place for row in self.rows}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Unit]:
        """Iterate over the rows."""
        return iter(self.rows)

    def __getitem__(self, label: str) -> "UnitSet":
        """Return the units of a label; a language may be spelled in any way."""
        known = match_language(label, self.labels)
        if known is None:
            raise ArgumentError(f"label={label!r} is not among {', '.join(self.labels) or 'none'}")
        return self._keep(row for row in self.rows if row.label == known)

    def __or__(self, other: "UnitSet") -> "UnitSet":
        """Return the rows of both sets; of two rows with the same label, site and index, the left set's."""
        mine = {row.key for row in self.rows}
        rows = (*self.rows, *(row for row in _units(other).rows if row.key not in mine))
        return UnitSet(rows, _common(self.provenance, other.provenance))

    def __and__(self, other: "UnitSet") -> "UnitSet":
        """Return the rows of the left set whose site and index are in the right set."""
        theirs = _units(other).places
        return self._keep(row for row in self.rows if row.place in theirs)

    def __sub__(self, other: "UnitSet") -> "UnitSet":
        """Return the rows of the left set whose site and index are not in the right set."""
        theirs = _units(other).places
        return self._keep(row for row in self.rows if row.place not in theirs)

    def top(self, k: int, *, per_layer: bool = False) -> "UnitSet":
        """Return the k units of each label with the highest scores.

        Args:
            k: How many; all where there are fewer. Of equal scores the earlier row is taken.
            per_layer: Take k units at each site instead of k in all.
        """
        k = whole_number("k", k, least=1)
        groups: dict[Any, list[Unit]] = defaultdict(list)
        for row in self.rows:
            groups[(row.label, row.site) if per_layer else row.label].append(row)
        best = {row.key for group in groups.values() for row in sorted(group, key=lambda row: -row.score)[:k]}
        return self._keep(row for row in self.rows if row.key in best)

    def by_site(self) -> dict[Site, list[Unit]]:
        """Group the rows by site."""
        groups: dict[Site, list[Unit]] = defaultdict(list)
        for row in self.rows:
            groups[row.site].append(row)
        return dict(groups)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the set, its provenance and a card into a folder, completely or not at all.

        As with `save_pretrained` of transformers, a set or a vector that the folder holds is replaced.

        Raises:
            UnitsError: A folder that cannot be written, or provenance that JSON cannot hold.
        """
        labels = {label: number for number, label in enumerate(self.labels)}
        sites = {site: number for number, site in enumerate(self.by_site())}
        rows = [(labels[row.label], sites[row.site], row.index, row.score, row.value) for row in self.rows]
        columns = {
            name: torch.tensor([row[place] for row in rows], dtype=dtype)
            for place, (name, dtype) in enumerate(_COLUMNS.items())
        }
        content = {
            "labels": list(labels),
            "sites": list(map(str, sites)),
            "provenance": dict(self.provenance),
        }
        return save_artefact(folder, _KIND, content, columns, self._parse, self._card())

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> "UnitSet":
        """Read a set from a folder, or from the Hub where there is no such folder.

        Args:
            source: A folder or a Hub id.
            revision: Branch, tag or commit on the Hub.

        Raises:
            UnitsError: Nothing there, or files that were changed or damaged.
        """
        return load_artefact(source, _KIND, cls._parse, revision)

    @classmethod
    def _parse(cls, content: dict[str, Any], columns: dict[str, Tensor]) -> "UnitSet":
        found = checked(_UnitFields, content)
        _check_columns(columns)
        for name, known in (("label", found.labels), ("site", found.sites)):
            if len(set(known)) != len(known):
                raise ArgumentError(f"{name}s={known!r:.80} has one of them twice")
            if bool(((columns[name] < 0) | (columns[name] >= len(known))).any()):
                raise ArgumentError(f"the column {name!r} points outside the {len(known)} {name}s")
        sites = [Site.parse(site) for site in found.sites]
        if list(map(str, sites)) != found.sites:
            raise ArgumentError(f"sites={found.sites!r:.80} are not written as xalign writes them")
        numbers = zip(*(columns[name].tolist() for name in _COLUMNS), strict=True)
        return cls.from_rows(
            [(found.labels[label], sites[site], *rest) for label, site, *rest in numbers],
            checked_provenance(found.provenance),
        )

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the set with its card.

        Args:
            repo_id: `owner/name`; it is created if it does not exist.
            **options: `private`, `token` and `commit_message`, as in huggingface_hub.

        Returns:
            The URL of the commit.
        """
        return push_artefact(self, repo_id, **options)

    def _card(self) -> str:
        counts = Counter((row.label, str(row.site)) for row in self.rows)
        table = "\n".join(
            f"| {markdown(label)} | {markdown(site)} | {count} |" for (label, site), count in counts.items()
        )
        return card_of(
            "Units",
            self.provenance,
            f"\n| label | site | units |\n|---|---|---|\n{table}\n\n"
            "```python\nfrom xalign import UnitSet\n\n"
            'units = UnitSet.from_pretrained("this repository or folder")\n```\n',
        )

    def __repr__(self) -> str:
        """Show the labels and how many units each has."""
        counts = Counter(row.label for row in self.rows)
        return f"UnitSet({', '.join(f'{label} {count}' for label, count in counts.items()) or 'empty'})"

    def _keep(self, rows: Iterable[Unit]) -> "UnitSet":
        return UnitSet(tuple(rows), self.provenance)


def _check_columns(columns: Mapping[str, Tensor]) -> None:
    """Refuse columns that are not those of a saved set."""
    if columns.keys() != _COLUMNS.keys():
        raise ArgumentError(f"the columns are {sorted(columns)}, not {sorted(_COLUMNS)}")
    for name, column in columns.items():
        if column.dtype != _COLUMNS[name] or column.shape != columns["index"].shape or column.dim() != 1:
            raise ArgumentError(
                f"the column {name!r} is {column.dtype} of shape {tuple(column.shape)}; it must be "
                f"{_COLUMNS[name]} [row]"
            )


def _checked(row: Sequence[Any]) -> Unit:
    if not isinstance(row, tuple | list) or len(row) != 5:
        raise ArgumentTypeError(f"a row must be (label, site, index, score, value), not {row!r:.80}")
    label, site, index, score, value = row
    if not isinstance(label, str) or not label:
        raise ArgumentTypeError(f"label={label!r:.60} must be text, like 'deu_Latn'")
    for name, number in (("score", score), ("value", value)):
        if isinstance(number, bool) or not isinstance(number, Real):
            raise ArgumentTypeError(f"{name}={number!r:.60} must be a number")
        if not math.isfinite(number):
            raise ArgumentError(f"{name}={number} of unit {index} of site {site} is not finite")
    if isinstance(index, int) and index >= 2**63:
        raise ArgumentError(f"index={index!r:.60} is larger than any width")
    where = site if isinstance(site, Site) else Site.parse(site)
    return Unit(label, where, whole_number("index", index), float(score), float(value))


def _units(other: object) -> UnitSet:
    if not isinstance(other, UnitSet):
        raise ArgumentTypeError(f"a UnitSet combines with a UnitSet, not with {type(other).__name__}")
    return other


def _common(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that two provenances agree on. An entry of only one of them is left out."""
    shapes = [origin["shape"] for origin in (one, other) if "shape" in origin]
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        raise ArgumentError(f"the sets are of different models: {shapes[0]} and {shapes[1]}")
    if not one or not other:
        return dict(one or other)
    return {name: value for name, value in one.items() if name in other and other[name] == value}
