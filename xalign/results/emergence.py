"""`emergence`: from which step each language is aligned, where it peaks, and whether it is forgotten."""

from typing import Any

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.results.history import History

Row = dict[str, Any]


def emergence(history: History, metric: str | None = None) -> list[Row]:
    """Per language and layer when alignment emerged, where it peaked and whether it was lost again.

    Args:
        history: What was measured along a run.
        metric: A metric of the history, retrieval in one direction; all of them where None.

    Returns:
        A dict per metric, language and layer, and per score, with layer `"mean"`: `metric`, `language`,
        `layer`; `emerged_at`, the first step from which on the lower bound of the 95 % interval stays above
        both the lexical floor and chance, or None; `peak` and `peak_step`, the largest value and the first
        step that has it; `last`, the last value; `regressed`, whether the last interval lies wholly below
        that of the peak; and for the score `best_layer`, the layer with the largest value at the peak's step,
        the lowest of equal ones.

    Raises:
        ArgumentError: An empty history, one without the metric, or none at all.

    Example:
        >>> history = History()
        >>> for step in (0, 100):
        ...     history.append(measure(model, tokenizer, pairs, ["nasca"], step=step))
        >>> [row["emerged_at"] for row in emergence(history) if row["layer"] == "mean"]
        [None]
    """
    if not isinstance(history, History):
        raise ArgumentTypeError(f"history must be one, like History.load(folder), not {history!r:.60}")
    if not history.entries:
        raise ArgumentError("the history is empty: nothing was measured")
    if metric is not None and metric not in history.metrics:
        raise ArgumentError(f"metric={metric!r} is not in this history; it has {', '.join(history.metrics)}")
    rows = []
    for name in history.metrics if metric is None else [metric]:
        found = [entry["metrics"][name] for entry in history.entries]
        rows += [
            _row_of(name, language, place, layer, found, history.steps)
            for language in history.languages
            for place, layer in enumerate(found[-1]["layers"])
        ]
    return rows


def _row_of(
    metric: str, language: str, place: int, layer: int | str, found: list[Row], steps: list[int]
) -> Row:
    series = [entry["languages"][language] for entry in found]
    values = [numbers["value"][place] for numbers in series]
    peak = max(range(len(values)), key=values.__getitem__)
    above = [
        numbers["low"][place] > max(bar for bar in (numbers["floor"], numbers["chance"]) if bar is not None)
        for numbers in series
    ]
    last_below = max((number for number, is_above in enumerate(above) if not is_above), default=-1)
    row = {
        "metric": metric,
        "language": language,
        "layer": layer,
        "emerged_at": steps[last_below + 1] if above[-1] else None,
        "peak": values[peak],
        "peak_step": steps[peak],
        "last": values[-1],
        "regressed": series[-1]["high"][place] < series[peak]["low"][place],
    }
    if layer == "mean":
        at_peak = series[peak]["value"][:-1]
        row["best_layer"] = found[peak]["layers"][at_peak.index(max(at_peak))]
    return row
