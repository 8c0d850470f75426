"""`standing`: whether a score is better than chance and its lexical floor."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from xalign.metrics.scale import Scale
from xalign.results.resampling import layer_intervals
from xalign.results.unknown import is_unknown
from xalign.statistics.intervals import KnownInterval, known_interval

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

Standing = Literal["better", "open", "worse", "unknown"]


def standing(
    interval: KnownInterval, bars: Sequence[float], scale: Scale, unknown: float = 0.0
) -> Standing | None:
    """Return how an interval compares with its bars. Tables, figures and `emergence` all use this.

    Args:
        interval: The 95 % interval of a score. One without a width says nothing.
        bars: What a score must exceed to say anything: its lexical floor and chance, as far as it has them.
        scale: Says which values are better.
        unknown: The share of the language's tokens that is unknown to the tokenizer.

    Returns:
        `"better"` where the whole interval is better than every bar, `"worse"` where the whole interval is
        worse than some bar, else `"open"`; None if there is no bar. Where most tokens are unknown, it is
        `"unknown"`: no score of such a language says anything.

    Example:
        >>> share = Scale("NASCA", bounds=(0.0, 1.0))
        >>> standing((0.01, 0.17), [0.0, 0.017], share)  # above its floor, but perhaps by chance
        'open'
        >>> standing((0.2, 0.3), [0.1, 0.005], share)
        'better'
    """
    if is_unknown(unknown):
        return "unknown"
    if not bars:
        return None
    low, high = known_interval(*interval)
    if low is None or high is None:
        return "open"
    worst, best = scale.worse_to_better(low, high)
    if all(scale.beats(worst, bar) for bar in bars):
        return "better"
    return "worse" if any(scale.beats(bar, best) for bar in bars) else "open"


def bars_in(row: Mapping[str, float | None]) -> list[float]:
    """Return the bars of a row of a report or a history: `floor` and `chance`, as far as they are known."""
    return [bar for bar in (row["floor"], row["chance"]) if bar is not None]


def bars_of(report: "AlignmentReport", metric: str, language: str) -> list[float]:
    """Return the bars of a score of a report."""
    return bars_in({"floor": report.floor(metric, language), "chance": report.chance(metric, language)})


def standing_of(report: "AlignmentReport", metric: str, language: str) -> Standing | None:
    """Return how a score of a report compares with its bars."""
    bars, unknown = bars_of(report, metric, language), report.stats[language].unknown_share
    return standing(report.interval(metric, language), bars, report.scale(metric), unknown)


def standing_by_layer(report: "AlignmentReport", metric: str, language: str) -> list[Standing | None]:
    """Return how each layer of a metric compares with its bars, its directions taken together."""
    parts = [result for row, result in report.metrics.items() if metric in (row, result.metric)]
    layers = np.mean([part.values[language].double().numpy() for part in parts], axis=0)
    bars, scale = bars_of(report, metric, language), report.scale(metric)
    unknown = report.stats[language].unknown_share
    intervals = layer_intervals(report, layers, scale, language)
    return [standing(interval, bars, scale, unknown) for interval in intervals]
