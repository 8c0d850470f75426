"""The console table: a line per language and metric, each score beside its interval and its lexical floor."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from xalign.results.report import AlignmentReport
from xalign.statistics.intervals import Interval


def report_table(report: AlignmentReport) -> Table:
    """A report as a table.

    Languages × metrics with score, 95 % interval, whether it lies above (`>`), at (`~`) or below (`<`) the
    lexical floor, the floor, best layer with its value, tokens per sentence and share of unknown tokens.
    Scores that are not above their floor are dim.

    Example:
        >>> report_table(report).columns[0].header
        'language'
    """
    table = Table(
        title=f"Alignment with {report.pairs.pivot}"
        + ("" if report.step is None else f" at step {report.step}"),
        caption=f"floor: what shared tokens alone give, with no model. chance: {_chance(report)}. "
        f"worst: {_worst(report)}",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for header in ("language", "metric"):
        table.add_column(header, no_wrap=True)
    for header in ("score", "95 %", "", "floor", "best layer", "tokens", "unknown"):
        table.add_column(header, justify="right", no_wrap=True)
    for language in report.languages:
        for number, metric in enumerate(report.measured):
            score, interval, floor = _numbers(report, metric, language)
            best = report.best_layer(metric, language)
            side = floor_side(interval, floor)
            stats = report.stats[language]
            table.add_row(
                language if number == 0 else "",
                metric,
                f"{score:.3f}",
                _shown(interval),
                {"above": ">", "at": "~", "below": "<"}[side],
                f"{floor:.3f}",
                f"{best} ({report.score(metric, language, 'max'):.2f})",
                f"{stats.tokens_per_sentence:.1f}" if number == 0 else "",
                f"{stats.unknown_share:.1%}" if number == 0 else "",
                style="" if side == "above" else "dim",
            )
        table.add_section()
    for number, metric in enumerate(report.measured):
        table.add_row(
            "mean" if number == 0 else "",
            metric,
            f"{report.score(metric):.3f}",
            "",
            "",
            f"{report.floor(metric):.3f}",
        )
    return table


def comparison_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows of `AlignmentReport.compare` as a table; only the scores, layer `"mean"`.

    Example:
        >>> comparison_table(report.compare(report)).columns[4].header
        'difference'
    """
    table = Table(
        title="After minus before, paired over sentences",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for header in ("language", "metric"):
        table.add_column(header, no_wrap=True)
    for header in ("before", "after", "difference", "95 %", "p"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in sorted((row for row in rows if row["layer"] == "mean"), key=lambda row: str(row["language"])):
        clear = row["low"] > 0 or row["high"] < 0
        table.add_row(
            row["language"],
            row["metric"],
            f"{row['before']:.3f}",
            f"{row['after']:.3f}",
            f"{row['difference']:+.3f}",
            _shown((row["low"], row["high"])),
            f"{row['p']:.4f}",
            style="" if clear else "dim",
        )
    return table


def floor_side(interval: Interval, floor: float) -> str:
    """`above` or `below` where the whole interval is, else `at` the floor."""
    low, high = interval
    return "above" if low > floor else "below" if high < floor else "at"


def _numbers(report: AlignmentReport, metric: str, language: str) -> tuple[float, Interval, float]:
    return report.score(metric, language), report.interval(metric, language), report.floor(metric, language)


def _shown(interval: Interval) -> str:
    return f"[{interval[0]:.2f}, {interval[1]:.2f}]"


def _worst(report: AlignmentReport) -> str:
    worst = {metric: report.worst(metric) for metric in report.measured}
    return ", ".join(f"{metric} {language} {score:.3f}" for metric, (language, score) in worst.items())


def _chance(report: AlignmentReport) -> str:
    counts = sorted(set(report.pairs.counts.values()))
    language = next(code for code, n in report.pairs.counts.items() if n == counts[0])
    levels = {metric: report.chance(metric, language) for metric in report.measured}
    named = ", ".join(f"{metric} {level:.3f}" for metric, level in levels.items() if level is not None)
    return f"{named or 'none'} at n = {counts[0]}" + (
        "" if len(counts) == 1 else f" (up to {counts[-1]} pairs)"
    )
