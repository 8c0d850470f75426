"""An entry of a history: the numbers of one report, as one line of JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ReportError
from xalign.metrics.scale import Scale
from xalign.results.fields import EntryFields, Marked, ScaleFields, Version
from xalign.results.saved import described_scale
from xalign.results.tensors import check_bounds, site_of
from xalign.results.values import layer_name
from xalign.schema import checked
from xalign.statistics.intervals import known_interval

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

SCHEMA_VERSION = 1
KIND = "xalign.History"

Row = dict[str, Any]
_PER_LANGUAGE = ("n", "documents", "chance", "floor")
_PER_LAYER = ("value", "low", "high")
# Reports of 0.1.0 do not list the settings that must agree.
_CONTINUED_IN_0_1_0 = (
    *("template", "template_pooled", "pool_special_tokens", "truncate"),
    *("subtract", "steered"),
)


def entry_of(report: "AlignmentReport") -> Row:
    """Return the numbers of a report as an entry of a history.

    Raises:
        ArgumentError: The report has no step.
    """
    if report.step is None:
        raise ArgumentError("the report has no step: measure(..., step=n)")
    by_row: dict[str, Row] = {}
    for row, result in report.metrics.items():
        by_row[row] = {
            "metric": result.metric,
            "scale": asdict(result.scale),
            "layers": [*result.layers, "mean"],
            "readings": list(result.readings),
            "languages": {},
        }
    for numbers in report.to_rows():
        of_language = by_row[numbers["metric"]]["languages"].setdefault(
            numbers["language"],
            {name: numbers[name] for name in _PER_LANGUAGE} | {name: [] for name in _PER_LAYER},
        )
        for name in _PER_LAYER:  # the ends are equal where no interval is known
            of_language[name].append(numbers["value" if numbers[name] is None else name])
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "step": whole_number("step", report.step),
        "model": report.provenance.get("model"),
        "revision": report.provenance.get("revision"),
        "pivot": report.pairs.pivot,
        "settings": settings_of(report.provenance),
        "cost": {"seconds": report.cost.seconds, "cpu_seconds": report.cost.cpu_seconds},
        "unknown": {code: report.stats[code].unknown_share for code in report.languages},
        "metrics": by_row,
    }


def unknown_in(entry: Row, language: str) -> float:
    """Return the share of a language's tokens that is unknown; 0 if an older entry does not record it."""
    return float((entry.get("unknown") or {}).get(language, 0.0))


def rows_of(entry: Row) -> Iterator[Row]:
    """Yield the rows of an entry, with the keys of `AlignmentReport.to_rows`."""
    for metric, found in entry["metrics"].items():
        for language, numbers in found["languages"].items():
            for place, layer in enumerate(found["layers"]):
                low, high = known_interval(numbers["low"][place], numbers["high"][place])
                yield {
                    "step": entry["step"],
                    "metric": metric,
                    "language": language,
                    **place_of(layer),
                    **{"value": numbers["value"][place], "low": low, "high": high},
                    **{name: numbers.get(name) for name in _PER_LANGUAGE},
                }


def scale_in(entry: Row, row: str) -> Scale:
    """Return the scale of a row of an entry, with the row's own title."""
    found = entry["metrics"][row]
    saved = checked(ScaleFields | None, found.get("scale"), f"metrics.{row}.scale")
    metric, scale = described_scale(row, found.get("metric"), saved)
    return scale.of_row(metric, row)


def settings_of(provenance: Mapping[str, Any]) -> Row:
    """Return the settings that must be the same in all entries of a history."""
    marks = provenance.get("must_agree")
    names = _CONTINUED_IN_0_1_0 if marks is None else (*marks["compared"], *marks["continued"])
    return {name: provenance.get(name) for name in ("fingerprint", *names)}


def check_entry(entry: Row) -> None:
    """Refuse what is not an entry: every field is checked for type and range.

    Raises:
        ReportError: An entry of another kind or schema.
        ArgumentError: Not an entry, or a damaged one; the field is named.
    """
    version = checked(Version, entry)
    if version.kind != KIND or version.schema_version != SCHEMA_VERSION:
        raise ReportError(
            f"{version.kind:.80} of schema {version.schema_version!s:.20}; this xalign reads {KIND} of "
            f"schema {SCHEMA_VERSION}: read it with the version that wrote it, or name another folder"
        )
    found = checked(EntryFields, entry)
    checked(Marked, found.settings, "settings")
    languages = [list(row.languages) for row in found.metrics.values()]
    if any(codes != languages[0] for codes in languages) or found.pivot in languages[0]:
        raise ArgumentError("metrics: its rows are not of the same languages")
    for name, row in found.metrics.items():
        _, scale = described_scale(name, row.metric, row.scale)
        sites = [site_of(reading) for reading in row.readings]
        if [*map(layer_name, sites), "mean"] != row.layers:
            raise ArgumentError(f"metrics.{name}.layers={row.layers!r:.80} are not those of its readings")
        for code, numbers in row.languages.items():
            if len(numbers.value) != len(row.layers):
                raise ArgumentError(f"metrics.{name} has layers and values of different lengths")
            for field in (*_PER_LAYER, "chance", "floor"):
                given = getattr(numbers, field)
                given = given if isinstance(given, list) else [] if given is None else [given]
                check_bounds(f"metrics.{name}.languages.{code}.{field}", given, scale)
    for code in languages[0]:
        if len({row.languages[code].n for row in found.metrics.values()}) > 1:
            raise ArgumentError(f"metrics: its rows are not of the same number of pairs of {code}")


def check_follows(entry: Row, before: Row) -> None:
    """Refuse an entry that cannot come after another one in a history.

    Both have passed `check_entry`.

    Raises:
        ReportError: A step that is not later, other sentences, metrics, places or languages, or metrics of
            the same names that mean something else.
    """
    if entry["step"] <= before["step"]:
        raise ReportError(f"step {entry['step']} follows step {before['step']}: steps are not in order")
    was, now = _curve_of(before), _curve_of(entry)
    differing = [name for name in was if was[name] != now[name] and None not in (was[name], now[name])]
    if differing:
        raise ReportError(
            f"the {differing[0]} of step {entry['step']} are not those of step {before['step']}: such scores "
            "make no curve"
        )


def _curve_of(entry: Row) -> Row:
    """Return what is the same in all entries of a curve, by its name."""
    metrics = entry["metrics"]
    return {
        "sentences": entry["settings"]["fingerprint"],
        "pivot": entry["pivot"],
        "readings": {row: found["readings"] for row, found in metrics.items()},
        "languages": {row: list(found["languages"]) for row, found in metrics.items()},
        "numbers of pairs": [n["n"] for found in metrics.values() for n in found["languages"].values()],
        "meanings": {row: replace(scale_in(entry, row), title="") for row in metrics},
    }


def place_of(layer: str | int) -> Row:
    """Return stack and layer of a site from its short name, such as `3` or `decoder.3`."""
    stack, dot, of_stack = str(layer).partition(".")
    if not dot or stack not in ("encoder", "decoder"):
        return {"stack": "", "layer": layer}
    return {"stack": stack, "layer": int(of_stack) if of_stack.isdecimal() else of_stack}
