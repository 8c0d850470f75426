"""`UnitSet`: chosen coordinates of a model's sites, per label, with their scores and values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from torch import Tensor, nn

from xalign.checks import boolean, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site
from xalign.pairs.languages import match_language
from xalign.units.agreed import agreed
from xalign.units.artefact import load_artefact, push_artefact, save_artefact
from xalign.units.checked_units import Column, columns_of_arrays, columns_of_rows
from xalign.units.columns import KINDS_OF_UNITS, Array, Columns, are_best
from xalign.units.rows import Rows
from xalign.units.same_units import are_in
from xalign.units.saved_units import KIND, card, content_of, parsed, tensors_of
from xalign.units.sharing import is_shared_by, kinds_by_reach, sharing_groups
from xalign.units.unit import Unit

__all__ = ["Unit", "UnitSet"]


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

    rows: Sequence[Unit]
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Keep the rows as columns."""
        object.__setattr__(self, "rows", Rows.of(self.rows))

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[
            tuple[str, Site | str, int, float, float] | tuple[str, Site | str, int, float, float, str]
        ],
        provenance: Mapping[str, Any] | None = None,
    ) -> "UnitSet":
        """Make a set from rows (label, site, index, score, value), or (label, …, value, kind).

        Args:
            rows: The rows; a site may be text like `"3.inner"`.
            provenance: Where they come from.

        Raises:
            ArgumentError: A negative index, a score or value that is not finite, an unknown kind, or a
                repeated row.
            ArgumentTypeError: A row that is not such a tuple.
        """
        if not isinstance(rows, Iterable) or not isinstance(provenance, Mapping | None):
            raise ArgumentTypeError("rows must be a list of rows, and provenance a mapping, or None")
        return cls(Rows(columns_of_rows(rows)), dict(provenance or {}))

    @classmethod
    def from_columns(
        cls,
        labels: Sequence[str],
        sites: Sequence[Site | str],
        *,
        label: Column,
        site: Column,
        index: Column,
        score: Column,
        value: Column,
        kind: Column | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> "UnitSet":
        """Make a set from columns, for many rows: lists, arrays or tensors with one number per row.

        Args:
            labels: The labels that `label` numbers from 0.
            sites: The sites that `site` numbers from 0.
            label: Per row, the number of its label.
            site: Per row, the number of its site.
            index: Per row, the coordinate at the site.
            score: Per row, the score.
            value: Per row, the value.
            kind: Per row, 1 where one label alone has the unit, 2 where several have it, 3 where all have it,
                or 0; if None, kinds are not known.
            provenance: Where they come from.

        Raises:
            ArgumentError: Columns of different lengths, numbers of no label, site or kind, a negative index,
                a score or value that is not finite, or a repeated row.
            ArgumentTypeError: Columns that do not hold numbers.

        Example:
            >>> numbers = {"index": [7, 3], "score": [0.9, 0.8], "value": [2.5, -1]}
            >>> sites = ["1.inner", "2.inner"]
            >>> UnitSet.from_columns(["deu_Latn"], sites, label=[0, 0], site=[0, 1], **numbers)
            UnitSet(deu_Latn 2)
        """
        if not isinstance(provenance, Mapping | None):
            raise ArgumentTypeError(f"provenance={provenance!r:.60} must be a mapping, or None")
        given = {"label": label, "site": site, "index": index, "score": score, "value": value}
        given |= {} if kind is None else {"kind": kind}
        return cls(Rows(columns_of_arrays(labels, sites, given)), dict(provenance or {}))

    @property
    def columns(self) -> Columns:
        """The rows as arrays, which is much faster for many rows than to iterate over units."""
        return self.rows.columns  # type: ignore[attr-defined, no-any-return]

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of their first rows."""
        return list(self.columns.labels)

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

    def __hash__(self) -> int:
        """Return a hash of the rows."""
        columns = self.columns
        numbers = (*columns.arrays[:3], columns.score + 0.0, columns.value + 0.0, columns.kind)
        return hash((columns.labels, columns.sites, *(column.tobytes() for column in numbers)))

    def __getitem__(self, label: str) -> "UnitSet":
        """Return the units of a label; a language may be spelled in any way."""
        known = match_language(label, self.labels)
        if known is None:
            raise ArgumentError(f"label={label!r} is not among {', '.join(self.labels) or 'none'}")
        return self._keep(self.columns.label == self.labels.index(known))

    def __or__(self, other: "UnitSet") -> "UnitSet":
        """Return the rows of both sets; of two rows with the same label, site and index, the left set's."""
        theirs = _units(other).columns
        added = theirs.take(~are_in(theirs, self.columns, with_label=True))
        return UnitSet(
            Rows(Columns.joined([self.columns, added])), agreed(self.provenance, other.provenance, "sets")
        )

    def __and__(self, other: "UnitSet") -> "UnitSet":
        """Return the rows of the left set whose site and index are in the right set."""
        return self._keep(are_in(self.columns, _units(other).columns))

    def __sub__(self, other: "UnitSet") -> "UnitSet":
        """Return the rows of the left set whose site and index are not in the right set."""
        return self._keep(~are_in(self.columns, _units(other).columns))

    def top(self, k: int, *, per_layer: bool = False) -> "UnitSet":
        """Return the k units of each label with the highest scores.

        Args:
            k: How many; all where there are fewer. Of equal scores the earlier row is taken.
            per_layer: Take k units at each site instead of k in all.
        """
        k, columns = whole_number("k", k, least=1), self.columns
        kept = np.zeros(len(columns), bool)
        for rows in columns.groups(by_label=True, by_site=per_layer):
            kept[rows[are_best(columns.score[rows], k)]] = True
        return self._keep(kept)

    def of_kind(self, *kinds: str) -> "UnitSet":
        """Return the units of some kinds: `"specific"` to one label, `"related"` to several, or `"general"`.

        Raises:
            ArgumentError: An unknown kind, or a set whose kinds are not known.

        Example:
            >>> row = ("deu_Latn", "1.inner", 7, 0.9, 2.5, "specific")
            >>> len(UnitSet.from_rows([row]).of_kind("specific"))
            1
        """
        known = KINDS_OF_UNITS[1:]
        if not kinds or not set(kinds) <= set(known):
            raise ArgumentError(f"kinds={kinds!r:.80} must be some of {', '.join(known)}")
        if len(self) and not self.columns.kind.all():
            raise ArgumentError(
                "the kinds of these units are not known: their method does not tell them; with_kinds() tells "
                "them by the labels that each unit stands under"
            )
        return self._keep(np.isin(self.columns.kind, [KINDS_OF_UNITS.index(kind) for kind in kinds]))

    def with_kinds(self, labels: int | None = None) -> "UnitSet":
        """Return the same units with their kinds: by how many labels of this set each unit is shared.

        Args:
            labels: How many labels were compared, in case some have no unit here; if None, those of the set.

        Raises:
            ArgumentError: Fewer than 2 labels, or fewer than the set has.
        """
        columns, least = self.columns, max(2, len(self.labels))
        count = whole_number("labels", least if labels is None else labels, least=least)
        if labels is None and len(self.labels) < least:
            raise ArgumentError(
                f"the set has {len(self.labels)} label(s), so that nothing is known of others; give labels="
            )
        shared, group = sharing_groups(columns)
        kind = kinds_by_reach(shared.sum(axis=1), count)[group]
        return UnitSet(Rows(replace(columns, kind=kind.astype(np.int8))), self.provenance)

    def shared_by(self, *labels: str, exactly: bool = True) -> "UnitSet":
        """Return the units that all of some labels share, under each of these labels.

        Args:
            *labels: The labels; a language may be spelled in any way.
            exactly: Leave out units that further labels of the set share too.

        Raises:
            ArgumentError: No label, or one that the set does not have.
        """
        if not labels:
            raise ArgumentError(f"labels is empty; name some of {', '.join(self.labels) or 'none'}")
        own = [self[label].labels[0] for label in labels]
        is_own = np.isin(np.array(self.labels), own)[self.columns.label]
        return self._keep(is_own & is_shared_by(self.columns, own, exactly=boolean("exactly", exactly)))

    def groups(self) -> dict[tuple[str, ...], "UnitSet"]:
        """Group the units by the labels that share them, the largest group first.

        Example:
            >>> rows = [("deu_Latn", "1.inner", 7, 0.9, 2.5), ("spa_Latn", "1.inner", 7, 0.8, -1)]
            >>> UnitSet.from_rows(rows).groups()
            {('deu_Latn', 'spa_Latn'): UnitSet(deu_Latn 1, spa_Latn 1)}
        """
        shared, group = sharing_groups(self.columns)
        sizes = np.bincount(group, minlength=len(shared)) / np.maximum(shared.sum(axis=1), 1)
        names = [tuple(np.array(self.labels)[row].tolist()) for row in shared]
        return {names[one]: self._keep(group == one) for one in np.argsort(-sizes, kind="stable").tolist()}

    def by_site(self) -> dict[Site, Rows]:
        """Group the rows by site."""
        columns = self.columns
        return {
            columns.sites[columns.site[rows[0]]]: Rows(columns.take(rows))
            for rows in columns.groups(by_site=True)
        }

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the set, its provenance and a card into a folder, completely or not at all.

        As with `save_pretrained` of transformers, a set or a vector that the folder holds is replaced.

        Raises:
            UnitsError: A folder that cannot be written, or provenance that JSON cannot hold.
        """
        content, tensors = content_of(self.columns, self.provenance), tensors_of(self.columns)
        page = card(self.columns, self.provenance)
        return save_artefact(folder, KIND, content, tensors, self._parse, page)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> "UnitSet":
        """Read a set from a folder, or from the Hub where there is no such folder.

        Args:
            source: A folder or a Hub id.
            revision: Branch, tag or commit on the Hub.

        Raises:
            UnitsError: Nothing there, or files that were changed or damaged.
        """
        return load_artefact(source, KIND, cls._parse, revision)

    @classmethod
    def _parse(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> "UnitSet":
        labels, sites, columns, provenance = parsed(content, tensors)
        return cls.from_columns(labels, sites, **columns, provenance=provenance)

    def export(self, format: str, path: str | Path, model: nn.Module | None = None, **options: Any) -> Path:
        """Write what `steer` does with these units in a form that other programs load.

        Args:
            format: `"peft"`, `"weights"` or `"lm-eval"`; see `xalign.exports.export`.
            path: The folder or the file.
            model: The model that is edited.
            **options: `operator`, `strength` and others of `xalign.exports.export`.

        Returns:
            The path.

        Raises:
            XAlignError: What the format cannot express, with what to do instead.
        """
        from xalign.exports.export import export

        return export(self, format, path, model, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the set with its card.

        Args:
            repo_id: `owner/name`; it is created if it does not exist.
            **options: `private`, `token` and `commit_message`, as in huggingface_hub.

        Returns:
            The URL of the commit.
        """
        return push_artefact(self, repo_id, **options)

    def __repr__(self) -> str:
        """Show the labels and how many units each has."""
        counts = np.bincount(self.columns.label, minlength=len(self.labels))
        shown = (f"{label} {count}" for label, count in zip(self.labels, counts, strict=True))
        return f"UnitSet({', '.join(shown) or 'empty'})"

    def _keep(self, rows: Bool[Array, " row"]) -> "UnitSet":
        return UnitSet(Rows(self.columns.take(rows)), self.provenance)


def _units(other: object) -> UnitSet:
    if not isinstance(other, UnitSet):
        raise ArgumentTypeError(f"a UnitSet combines with a UnitSet, not with {type(other).__name__}")
    return other
