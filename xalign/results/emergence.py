"""`emergence`: from which step on each language is aligned, when it peaks, and whether it regresses."""

from typing import Any

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.scale import Scale
from xalign.results.history import History
from xalign.results.history_entry import scale_in, unknown_in
from xalign.results.standing import bars_in, standing
from xalign.results.unknown import is_unknown
from xalign.statistics.intervals import known_interval

Row = dict[str, Any]


def emergence(history: History, metric: str | None = None) -> list[Row]:
    """Return when alignment emerged, where it peaked and whether it was lost, per language and layer.

    Args:
        history: The measurements of a run.
        metric: A row of the history, such as one direction of retrieval; all of them if None.

    Returns:
        A dict per metric, language and layer, and one per score, whose layer is `"mean"`. Layers of a model
        with two stacks are text like `"decoder.3"`. The keys are:

        - `metric`, `language`, `layer`;
        - `emerged_at`: the first step from which on the whole 95 % interval stays better than the lexical
          floor and than chance, as far as the metric has them. None if there is no such step, if the metric
          has neither, or if most tokens of the language are unknown;
        - `peak`, `peak_step`: the best value, and the first step that has it;
        - `last`: the last value;
        - `regressed`: whether the whole last interval is worse than the whole interval at the peak; False if
          most tokens of the language are unknown;
        - `best_layer`, for a score only: the best layer at the step of the peak; of equal ones, the lowest.

        Better is larger, or smaller for a metric where lower is better.

    Raises:
        ArgumentTypeError: `history` is not a history.
        ArgumentError: The history is empty, or does not hold the metric.

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
        scale = scale_in(history.entries[-1], name)
        unknown = {code: unknown_in(history.entries[-1], code) for code in history.languages}
        rows += [
            _row_of(name, scale, language, place, found, history.steps, unknown[language])
            for language in history.languages
            for place in range(len(found[-1]["layers"]))
        ]
    return rows


def _row_of(
    metric: str, scale: Scale, language: str, place: int, found: list[Row], steps: list[int], unknown: float
) -> Row:
    series = [entry["languages"][language] for entry in found]
    layer = found[-1]["layers"][place]
    values = [numbers["value"][place] for numbers in series]
    peak = scale.best(values)
    clear = [_is_clear(numbers, place, scale, unknown) for numbers in series]
    last_unclear = max((number for number, is_clear in enumerate(clear) if not is_clear), default=-1)
    at_end, at_peak = ((series[at]["low"][place], series[at]["high"][place]) for at in (-1, peak))
    peak_at_worst, _ = scale.worse_to_better(*at_peak)
    row = {
        "metric": metric,
        "language": language,
        "layer": layer,
        "emerged_at": steps[last_unclear + 1] if clear[-1] else None,
        "peak": values[peak],
        "peak_step": steps[peak],
        "last": values[-1],
        "regressed": not is_unknown(unknown)
        and standing(at_end, [peak_at_worst], scale) == "worse"
        and known_interval(*at_peak) != (None, None),
    }
    if layer == "mean":
        row["best_layer"] = found[peak]["layers"][scale.best(series[peak]["value"][:-1])]
    return row


def _is_clear(numbers: Row, place: int, scale: Scale, unknown: float) -> bool:
    """Return whether a whole interval is better than every bar that there is, and there is at least one."""
    interval = numbers["low"][place], numbers["high"][place]
    return standing(interval, bars_in(numbers), scale, unknown) == "better"
