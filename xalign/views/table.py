"""The console tables: each score beside its interval and its lexical floor, and what changed."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from xalign.escape import cell
from xalign.result_table import result_table
from xalign.results.report import AlignmentReport
from xalign.results.resampling import over_what
from xalign.results.standing import standing_of
from xalign.statistics.intervals import KnownInterval, known_interval
from xalign.views.digits import MOST, decimals_of
from xalign.views.signs import sign_of, signs_note


def report_table(report: AlignmentReport) -> Table:
    """Return a report as a table.

    There is a line per language and metric: score, 95 % interval, a sign, the lexical floor, the best layer
    with its value, tokens per sentence, and the share of unknown tokens; for recordings, frames and seconds.
    The sign is `>` where the whole interval lies above both floor and chance, `<` where all of it lies below
    one of them, and `~` otherwise. It is `?` where most tokens of the language are unknown to the tokenizer:
    then no score says anything. Lines that are not better than both are dim. A metric that has neither has no
    sign and is never dim.

    Example:
        >>> report_table(report).columns[0].header
        'language'
    """
    units = ("frames", "seconds") if report.pairs.is_audio else ("tokens", "unknown")
    table = result_table(
        f"Alignment with {report.pairs.pivot}" + ("" if report.step is None else f" at step {report.step}"),
        ["language", "metric"],
        ["score", "95 %", "", "floor", "best layer", *units],
        Text("\n").join(map(cell, _caption(report))),
    )
    decimals = {metric: _decimals(report, metric) for metric in report.measured}
    for language in report.languages:
        stats = report.stats[language]
        for number, metric in enumerate(report.measured):
            cells, is_clear = _cells(report, metric, language, decimals[metric])
            name, tokens = "", ["", ""]
            if number == 0:
                name = language
                seconds = stats.seconds_per_sentence
                tokens = [
                    f"{stats.tokens_per_sentence:.1f}",
                    f"{stats.unknown_share:.1%}" if seconds is None else f"{seconds:.1f}",
                ]
            table.add_row(*map(cell, (name, metric, *cells, *tokens)), style="" if is_clear else "dim")
        table.add_section()
    for number, metric in enumerate(report.measured):
        floor = report.floor(metric)
        table.add_row(
            "mean" if number == 0 else "",
            cell(metric),
            f"{report.score(metric):.{decimals[metric]}f}",
            "",
            "",
            "" if floor is None else f"{floor:.{decimals[metric]}f}",
        )
    return table


def _cells(report: AlignmentReport, metric: str, language: str, decimals: int) -> tuple[list[str], bool]:
    """Return the numbers of a line as text, and whether its score is better than its bars, if it has any."""
    scale, floor = report.scale(metric), report.floor(metric, language)
    interval = report.interval(metric, language)
    fewer = max(decimals - 1, 0)
    best = report.best_layer(metric, language)
    stands = standing_of(report, metric, language)
    cells = [
        f"{report.score(metric, language):.{decimals}f}",
        _shown(interval, fewer),
        sign_of(stands, scale),
        "" if floor is None else f"{floor:.{decimals}f}",
        f"{best} ({report.score(metric, language, 'max'):.{fewer}f})",
    ]
    return cells, stands in (None, "better")


def comparison_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return rows of `AlignmentReport.compare` as a table. It shows the scores only, whose layer is `"mean"`.

    A line is dim unless its interval excludes 0 and p is below .05. If all differences are equal, there is no
    interval, because their spread is unknown.

    Args:
        rows: The rows of a comparison.

    Example:
        >>> comparison_table(report.compare(report)).columns[4].header
        'difference'
    """
    table = result_table(
        "After minus before, paired over sentences",
        ["language", "metric"],
        ["before", "after", "difference", "95 %", "p"],
        "Dim: the interval holds 0. So are lines whose p is .05 or more. No interval: all sentences changed "
        "equally, or not at all.",
    )
    scores = [row for row in rows if row["layer"] == "mean"]
    for row in sorted(scores, key=lambda row: str(row["language"])):
        decimals = _decimals_of_rows(one for one in scores if one["metric"] == row["metric"])
        low, high = interval = known_interval(row["low"], row["high"])
        fine = max(decimals, _decimals_of_difference(row))
        is_clear = low is not None and high is not None and not low <= 0 <= high and row["p"] < 0.05
        table.add_row(
            cell(row["language"]),
            cell(row["metric"]),
            f"{row['before']:.{decimals}f}",
            f"{row['after']:.{decimals}f}",
            f"{row['difference']:+.{fine}f}",
            _shown(interval, fine - 1),
            f"{row['p']:.4f}",
            style="" if is_clear else "dim",
        )
    return table


def _decimals(report: AlignmentReport, metric: str) -> int:
    return decimals_of(
        report.scale(metric),
        [value for code in report.languages for value in report.mean_by_layer(metric, code).tolist()],
    )


def _decimals_of_rows(rows: Iterable[dict[str, Any]]) -> int:
    """Return 3 decimals, or more where all values are tiny: the rows of a comparison have no scale."""
    largest = max(max(abs(row["before"]), abs(row["after"])) for row in rows)
    return 3 if largest == 0 or largest > 0.002 else min(-math.floor(math.log10(largest)) + 3, MOST)


def _decimals_of_difference(row: dict[str, Any]) -> int:
    """Return 3 decimals, or more where a difference and its whole interval are close to 0."""
    largest = max(abs(row[name] or 0) for name in ("difference", "low", "high"))
    return 3 if largest == 0 or largest >= 0.01 else min(-math.floor(math.log10(largest)) + 1, MOST)


def _shown(interval: KnownInterval, decimals: int) -> str:
    low, high = known_interval(*interval)
    if low is None:
        return ""
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def _caption(report: AlignmentReport) -> list[str]:
    parts = []
    if any(report.floor(metric) is not None for metric in report.measured):
        alone = f"{report.pairs.floor_name} means" if report.pairs.is_audio else "shared tokens"
        parts.append(f"floor: what {alone} alone give, with no model.")
    parts.append(f"chance: {_chance(report)}.")
    parts.append(f"95 %: {_over(report)}.")
    parts.append(f"worst: {_worst(report)}.")
    parts.append(f"{signs_note(map(report.scale, report.measured))} Lines without > are dim.")
    return parts


def _over(report: AlignmentReport) -> str:
    return over_what([(n, report.documents(code)) for code, n in report.pairs.counts.items()])


def _worst(report: AlignmentReport) -> str:
    worst = {metric: report.worst(metric) for metric in report.measured}
    return ", ".join(
        f"{metric} {language} {score:.{_decimals(report, metric)}f}"
        for metric, (language, score) in worst.items()
    )


def _chance(report: AlignmentReport) -> str:
    counts = sorted(set(report.pairs.counts.values()))
    language = next(code for code, n in report.pairs.counts.items() if n == counts[0])
    levels = {metric: report.chance(metric, language) for metric in report.measured}
    named = ", ".join(
        f"{metric} {level:.{_decimals(report, metric)}f}"
        for metric, level in levels.items()
        if level is not None
    )
    more = "" if len(counts) == 1 else f" (up to {counts[-1]} pairs)"
    return f"{named or 'none'} at n = {counts[0]}{more}"
