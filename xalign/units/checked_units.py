"""What a caller gives as units, rows or columns, checked and made into `Columns`."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site
from xalign.units.columns import KINDS_OF_UNITS, Array, Columns
from xalign.units.same_units import first_repeated
from xalign.units.unit import Unit

Column = Sequence[float] | Array | Tensor


def columns_of_rows(rows: Iterable[Sequence[Any]]) -> Columns:
    """Return rows (label, site, index, score, value), or with a kind behind them, as columns.

    Raises:
        ArgumentError: A negative index, a score or value that is not finite, an unknown kind, or a repeated
            row.
        ArgumentTypeError: A row that is not such a tuple.
    """
    labels: dict[str, int] = {}
    sites: dict[Site, int] = {}
    label, site, index, kind = (array("q") for _ in range(4))
    score, value = array("d"), array("d")
    for row in map(_checked, rows):
        label.append(labels.setdefault(row.label, len(labels)))
        site.append(sites.setdefault(row.site, len(sites)))
        index.append(row.index)
        score.append(row.score)
        value.append(row.value)
        kind.append(KINDS_OF_UNITS.index(row.kind))
    arrays = (np.array(column) for column in (label, site, index, score, value, kind))
    return _without_repeats(Columns.of([*labels], [*sites], *arrays))


def columns_of_arrays(
    labels: Sequence[str], sites: Sequence[Site | str], given: Mapping[str, object]
) -> Columns:
    """Return arrays or tensors as columns.

    Args:
        labels: The names that the codes of `given["label"]` number.
        sites: The sites that the codes of `given["site"]` number.
        given: `label`, `site`, `index`, `score` and `value`, and `kind` where it is known; one number per
            row.

    Raises:
        ArgumentError: Columns of different lengths, codes of no name, a negative index, a score or value that
            is not finite, or a repeated row.
        ArgumentTypeError: Columns that are not of numbers, or names that are not a list of names.
    """
    names, where = _names(labels), _sites(sites)
    found = {name: _array(name, column) for name, column in given.items()}
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ArgumentError(f"the columns must have one number per row each, and have {told}")
    for name, known in (("label", names), ("site", where)):
        if len(set(known)) < len(known):
            raise ArgumentError(f"{name}s={[str(one) for one in known]!r:.80} has one of them twice")
    for name, size in (("label", len(names)), ("site", len(where)), ("kind", len(KINDS_OF_UNITS))):
        if name in found and bool(((found[name] < 0) | (found[name] >= size)).any()):
            raise ArgumentError(f"the column {name!r} points outside the {size} {name}s")
    if len(found["index"]) and found["index"].min() < 0:
        raise ArgumentError(f"index={found['index'].min()} must be at least 0")
    for name in ("score", "value"):
        infinite = np.flatnonzero(~np.isfinite(found[name]))
        if len(infinite):
            raise _not_finite(
                name,
                found[name][infinite[0]],
                found["index"][infinite[0]],
                where[found["site"][infinite[0]]],
            )
    return _without_repeats(Columns.of(names, where, *found.values()))


def _without_repeats(columns: Columns) -> Columns:
    repeated = first_repeated(columns, with_label=True)
    if repeated is None:
        return columns
    label, site = columns.labels[columns.label[repeated]], columns.sites[columns.site[repeated]]
    raise ArgumentError(f"rows hold unit {columns.index[repeated]} of site {site} twice for {label!r}")


def _checked(row: Sequence[Any]) -> Unit:
    if not isinstance(row, tuple | list) or len(row) not in (5, 6):
        raise ArgumentTypeError(
            f"a row must be (label, site, index, score, value), or with a kind behind them, not {row!r:.80}"
        )
    label, site, index, score, value, *kinds = row
    _check_label(label)
    kind = kinds[0] if kinds else ""
    if kind not in KINDS_OF_UNITS:
        raise ArgumentError(f"kind={kind!r:.60} must be {', '.join(KINDS_OF_UNITS[1:])}, or empty")
    for name, number in (("score", score), ("value", value)):
        if isinstance(number, bool) or not isinstance(number, Real):
            raise ArgumentTypeError(f"{name}={number!r:.60} must be a number")
        if not math.isfinite(number):
            raise _not_finite(name, number, index, site)
    if isinstance(index, int) and index >= 2**63:
        raise ArgumentError(f"index={index!r:.60} is larger than any width")
    where = site if isinstance(site, Site) else Site.parse(site)
    return Unit(label, where, whole_number("index", index), float(score), float(value), kind)


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label:
        raise ArgumentTypeError(f"label={label!r:.60} must be text, like 'deu_Latn'")


def _not_finite(name: str, number: object, index: object, site: object) -> ArgumentError:
    return ArgumentError(f"{name}={number} of unit {index} of site {site} is not finite")


def _names(labels: object) -> list[str]:
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise ArgumentTypeError(f"labels={labels!r:.60} must be a list of labels, like ['deu_Latn']")
    for label in labels:
        _check_label(label)
    return list(labels)


def _sites(sites: object) -> list[Site]:
    if isinstance(sites, str) or not isinstance(sites, Sequence):
        raise ArgumentTypeError(f"sites={sites!r:.60} must be a list of sites, like ['3.inner']")
    return [site if isinstance(site, Site) else Site.parse(site) for site in sites]


def _array(name: str, column: object) -> Shaped[Array, " row"]:
    """Return a copy of a column: nobody else can change it."""
    if isinstance(column, Tensor):
        column = column.detach().cpu()
        column = (column.double() if column.is_floating_point() else column).numpy()
    given = np.asarray(column)
    allowed = "iuf" if name in ("score", "value") else "iu"
    if given.dtype.kind not in allowed and given.size:
        kind = "whole numbers" if allowed == "iu" else "numbers"
        raise ArgumentTypeError(f"the column {name!r} must hold {kind}, not {given.dtype}")
    if given.ndim != 1:
        raise ArgumentError(f"the column {name!r} has shape {given.shape}; it must be [row]")
    return np.array(given, np.float64 if name in ("score", "value") else np.int64)
