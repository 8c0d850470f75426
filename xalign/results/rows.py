"""The numbers of a report as rows: one dict per metric, language and layer, and one per score."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xalign.model.architectures.sites import Layer
from xalign.results.resampling import layer_intervals
from xalign.results.scores import Over
from xalign.results.values import layer_in_stack
from xalign.statistics.intervals import KnownInterval, known_interval

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport


def report_rows(report: "AlignmentReport", over: Sequence[Over]) -> list[dict[str, Any]]:
    """Return the rows of a report; see `AlignmentReport.to_rows`."""
    rows = []
    for metric in report.metrics:
        for language in report.languages:
            about = {
                "n": len(report.pairs[language]),
                "documents": report.documents(language),
                "chance": report.chance(metric, language),
                "floor": report.floor(metric, language),
            }
            for stack, layer, value, interval in _numbers(report, metric, language, over):
                place = {"metric": metric, "language": language, "stack": stack, "layer": layer}
                ends = dict(zip(("low", "high"), interval, strict=True))
                rows.append({"step": report.step, **place, "value": value, **ends, **about})
    return rows


def _numbers(
    report: "AlignmentReport", metric: str, language: str, over: Sequence[Over]
) -> Iterator[tuple[str, Layer | str, float, KnownInterval]]:
    """Yield stack, layer, value and interval of every site of a row, and then of its scores."""
    result = report.metrics[metric]
    layers = result.values[language].numpy()
    intervals = layer_intervals(report, layers, report.scale(metric), language)
    for site, values, interval in zip(result.sites, result.values[language], intervals, strict=True):
        yield site.stack, layer_in_stack(site), values.double().mean().item(), known_interval(*interval)
    for pooled in over:
        score = report.score(metric, language, pooled)
        yield "", pooled, score, report.interval(metric, language, pooled)
