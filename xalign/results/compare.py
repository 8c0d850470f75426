"""Paired differences between two reports of the same sentences."""

from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentTypeError, ReportError
from xalign.identity import advice, agree
from xalign.results.resampling import resampled
from xalign.results.values import OWN_FUNCTIONS, layer_in_stack
from xalign.statistics.intervals import bootstrap_interval, known_interval, paired_p_value
from xalign.warn import warn

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

# Reports of 0.1.0 do not list the options that must agree.
_COMPARED_IN_0_1_0 = ("template", "template_pooled", "pool_special_tokens", "truncate")


def refuse_incomparable(before: "AlignmentReport", after: "AlignmentReport") -> list[str]:
    """Return the rows that two reports share, or refuse reports that cannot be compared.

    Raises:
        ArgumentTypeError: `before` or `after` is not a report.
        ReportError: Different sentences or options, no common metric, a metric read at different places, or
            two different metrics of the same name.
    """
    for name, report in (("before", before), ("after", after)):
        if not hasattr(report, "pairs"):
            raise ArgumentTypeError(f"{name} must be an AlignmentReport, not {type(report).__name__}")
    if before.pairs.fingerprint != after.pairs.fingerprint:
        raise ReportError(
            f"the reports measured different sentences: {before.pairs!r}, fingerprint "
            f"{before.pairs.fingerprint[:12]}, before, and {after.pairs!r}, {after.pairs.fingerprint[:12]}, "
            "after; measure both on the same pairs"
        )
    for name in dict.fromkeys((*_compared(before), *_compared(after))):
        old, new = before.provenance.get(name), after.provenance.get(name)
        if not agree(old, new):
            raise ReportError(
                f"{name} was {old!r} before and {new!r} after; such scores cannot be compared"
                f"{advice(old, new)}"
            )
    shared = [row for row in after.metrics if row in before.metrics]
    if not shared:
        raise ReportError(
            f"no common metric: {', '.join(before.metrics)} before, {', '.join(after.metrics)} after"
        )
    for row in shared:
        one, other = before.metrics[row].scale, after.metrics[row].scale
        if not one.agrees_with(other):
            raise ReportError(
                f"{row} means {one} before and {other} after: these are two metrics of one name; rename one"
            )
        old, new = (report.provenance.get(OWN_FUNCTIONS, {}).get(row) for report in (before, after))
        if not agree(old, new):
            raise ReportError(
                f"{row} was computed by {old or 'another function'} before and by {new or 'another'} after: "
                f"these are two metrics of one name; rename one{advice(old, new)}"
            )
        was, now = before.metrics[row].readings, after.metrics[row].readings
        if was != now:
            raise ReportError(
                f"{row} read {', '.join(was[:3])} … ({len(was)} places) before, and "
                f"{', '.join(now[:3])} … ({len(now)}) after; such scores cannot be compared"
            )
    return shared


def _compared(report: "AlignmentReport") -> list[str]:
    """Return the options that must be equal in two reports that are compared."""
    marks = report.provenance.get("must_agree")
    return list(_COMPARED_IN_0_1_0 if marks is None else marks["compared"])


def compare_reports(before: "AlignmentReport", after: "AlignmentReport") -> list[dict[str, Any]]:
    """Return rows of differences, after minus before; see `AlignmentReport.compare`."""
    shared = refuse_incomparable(before, after)
    alone = sorted(set(before.metrics) ^ set(after.metrics))
    rows = [row for metric in shared for row in _differences(before, after, metric)]
    if alone:
        warn(f"only one report has {', '.join(alone)}; not compared")
    return rows


def _differences(before: "AlignmentReport", after: "AlignmentReport", row: str) -> list[dict[str, Any]]:
    old, new = before.metrics[row], after.metrics[row]
    rows = []
    for language in after.languages:
        documents = resampled(after, language)
        first, second = (result.values[language].double().numpy() for result in (old, new))
        layers = [
            *(
                (site.stack, layer_in_stack(site), *pair)
                for site, *pair in zip(new.sites, first, second, strict=True)
            ),
            ("", "mean", first.mean(axis=0), second.mean(axis=0)),
        ]
        for stack, layer, was, now in layers:
            change = now - was
            ends = bootstrap_interval(change, seed=after.seed, documents=documents)
            low, high = known_interval(*ends)
            rows.append(
                {
                    "metric": row,
                    "language": language,
                    "stack": stack,
                    "layer": layer,
                    "before": float(was.mean()),
                    "after": float(now.mean()),
                    "difference": float(change.mean()),
                    "low": low,
                    "high": high,
                    "p": paired_p_value(change, seed=after.seed, documents=documents),
                    "n": len(was),
                    "documents": after.documents(language),
                }
            )
    return rows
