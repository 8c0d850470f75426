"""Paired differences of two reports of the same sentences."""

import warnings
from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentTypeError, ReportError
from xalign.statistics.intervals import bootstrap_interval, paired_p_value

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

# Of reports of 0.1.0, which do not say themselves what must agree.
_COMPARED_IN_0_1_0 = ("template", "template_pooled", "pool_special_tokens", "truncate")


def refuse_incomparable(before: "AlignmentReport", after: "AlignmentReport") -> list[str]:
    """The metrics that both have, or an error where they are no two measurements of the same.

    Raises:
        ReportError: Other pairs, no common metric, or a metric read at other places.
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
        if old != new:
            raise ReportError(f"{name} was {old!r} before and {new!r} after; such scores cannot be compared")
    shared = [metric for metric in after.metrics if metric in before.metrics]
    if not shared:
        raise ReportError(
            f"no common metric: {', '.join(before.metrics)} before, {', '.join(after.metrics)} after"
        )
    for metric in shared:
        old, new = before.metrics[metric].readings, after.metrics[metric].readings
        if old != new:
            raise ReportError(
                f"{metric} read {', '.join(old[:3])} … ({len(old)} places) before, and "
                f"{', '.join(new[:3])} … ({len(new)}) after; such scores cannot be compared"
            )
    return shared


def _compared(report: "AlignmentReport") -> list[str]:
    """The options that must be equal in two reports that are compared."""
    marks = report.provenance.get("must_agree")
    return list(_COMPARED_IN_0_1_0 if marks is None else marks["compared"])


def compare_reports(before: "AlignmentReport", after: "AlignmentReport") -> list[dict[str, Any]]:
    """Rows of differences, after minus before; see `AlignmentReport.compare`."""
    shared = refuse_incomparable(before, after)
    alone = sorted(set(before.metrics) ^ set(after.metrics))
    rows = [row for metric in shared for row in _differences(before, after, metric)]
    if alone:
        warnings.warn(f"only one report has {', '.join(alone)}; not compared", UserWarning, stacklevel=3)
    return rows


def _differences(before: "AlignmentReport", after: "AlignmentReport", metric: str) -> list[dict[str, Any]]:
    old, new = before.metrics[metric], after.metrics[metric]
    rows = []
    for language in after.languages:
        first, second = (result.values[language].double().numpy() for result in (old, new))
        layers = [
            *((site.stack, site.layer, *pair) for site, *pair in zip(new.sites, first, second, strict=True)),
            ("", "mean", first.mean(axis=0), second.mean(axis=0)),
        ]
        for stack, layer, was, now in layers:
            low, high = bootstrap_interval(now - was, seed=after.seed)
            rows.append(
                {
                    "metric": metric,
                    "language": language,
                    "stack": stack,
                    "layer": layer,
                    "before": float(was.mean()),
                    "after": float(now.mean()),
                    "difference": float((now - was).mean()),
                    "low": low,
                    "high": high,
                    "p": paired_p_value(now - was, seed=after.seed),
                    "n": len(was),
                }
            )
    return rows
