"""The figure of a comparison: several models, or several runs, on the same sentences."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from xalign.errors import ArgumentError, ReportError
from xalign.escape import figure_text
from xalign.results.history import History
from xalign.results.history_entry import scale_in
from xalign.results.report import AlignmentReport
from xalign.views.labels import titled
from xalign.views.lines import named_language, style_of
from xalign.views.picture import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vPX*"


def models_figure(reports: Mapping[str, AlignmentReport], metric: str = "nasca") -> "Figure":
    """Draw the scores of several models: a row per language, with a point and its interval for each model.

    The short bar in the colour of a model is its lexical floor, which depends on its tokenizer; the dashed
    line is chance. Layers of different models cannot be compared, so the scores are means over layers.

    Args:
        reports: Name -> report, at least two, of the same sentences.
        metric: A metric of all of them.

    Returns:
        A matplotlib figure that belongs to no window.

    Raises:
        ArgumentError: Fewer than two reports, or a metric that one of them does not hold.
        ReportError: Reports of different sentences, or on different scales.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> models_figure({"before": report, "after": report}).axes[0].get_xlabel()
        'NASCA, mean of layers [share of pairs]'
    """
    new_figure = figure_class()
    first = _first_of(reports, metric)
    languages = first.languages
    height = 1.3 + len(languages) * (0.2 + 0.16 * len(reports))
    figure = new_figure(figsize=(6.4, height), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    spread = np.linspace(0.3, -0.3, len(reports)) if len(reports) > 1 else np.zeros(1)
    for number, (name, report) in enumerate(reports.items()):
        style, marker = style_of(number), _MARKERS[number % len(_MARKERS)]
        heights = len(languages) - 1 - np.arange(len(languages)) + spread[number]
        _draw_scores(axes, report, metric, heights, {"color": style["color"], "marker": marker}, name)
    chance = first.chance(metric, languages[0])
    if chance is not None:
        axes.axvline(chance, color="#444444", linestyle="--", linewidth=1, label=f"chance ({chance:.2g})")
    for edge in np.arange(len(languages) - 1) + 0.5:
        axes.axhline(edge, color="#dddddd", linewidth=0.6, zorder=0)
    names = [named_language(code, first.stats[code].unknown_share) for code in languages]
    axes.set_yticks(len(languages) - 1 - np.arange(len(languages)), names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(titled(first.scale(metric), ", mean of layers"))
    axes.set_ylabel("language")
    note = "bars: 95 % intervals" + ("" if first.floor(metric) is None else "; |: floor of the model")
    columns = min(len(reports) + 1, 4)
    figure.legend(
        loc="outside upper left", ncols=columns, fontsize=8, frameon=False, title=note, title_fontsize=7
    )
    return figure


def _first_of(reports: Mapping[str, AlignmentReport], metric: str) -> AlignmentReport:
    """Return the first report, or refuse reports that cannot stand side by side."""
    if len(reports) < 2:
        raise ArgumentError(f"reports has {len(reports)}; at least two are needed to compare")
    (first_name, first), *others = reports.items()
    for name, report in reports.items():
        if metric not in report.measured:
            raise ArgumentError(f"metric={metric!r} is not in report {name!r}: {', '.join(report.measured)}")
    for name, report in others:
        if report.pairs.fingerprint != first.pairs.fingerprint:
            raise ReportError(
                f"reports {first_name!r} and {name!r} are of different sentences: measure both on one"
            )
        if not report.scale(metric).agrees_with(first.scale(metric)):
            raise ReportError(f"reports {first_name!r} and {name!r} have {metric!r} on different scales")
    return first


def _draw_scores(
    axes: "Axes",
    report: AlignmentReport,
    metric: str,
    heights: Sequence[float],
    style: Mapping[str, Any],
    name: str,
) -> None:
    languages, colour = report.languages, style["color"]
    scores = [report.score(metric, code) for code in languages]
    axes.plot(scores, heights, linestyle="", markersize=4, label=figure_text(name), **style)
    for code, height in zip(languages, heights, strict=True):
        low, high = report.interval(metric, code)
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=colour, linewidth=1.2)
        floor = report.floor(metric, code)
        if floor is not None:
            axes.plot([floor, floor], [height - 0.09, height + 0.09], color=colour, linewidth=2.2, alpha=0.8)


def runs_figure(runs: Mapping[str, History], metric: str = "nasca") -> "Figure":
    """Draw several runs: a panel per language, with a curve over steps and its intervals for each run.

    Dotted lines are lexical floors, each in the colour of its run, and the dashed line is chance.

    Args:
        runs: Name -> history, at least two, of the same sentences.
        metric: A row of all of them.

    Returns:
        A matplotlib figure that belongs to no window.

    Raises:
        ArgumentError: Fewer than two runs, an empty one, or a metric that one of them does not hold.
        ReportError: Histories of different sentences or languages.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> from xalign.results.history import History
        >>> history = History()
        >>> for step in (0, 100):
        ...     history.append(measure(model, tokenizer, pairs, ["nasca"], step=step))
        >>> len(runs_figure({"seed 0": history, "seed 1": history}).axes) == len(report.languages)
        True
    """
    new_figure = figure_class()
    first = _first_run(runs, metric)
    columns = min(len(first.languages), 4)
    rows = -(-len(first.languages) // columns)
    figure = new_figure(figsize=(2.5 * columns + 1, 2.4 * rows + 0.7), layout="constrained", dpi=150)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, code in zip(panels, first.languages, strict=False):
        for number, (name, history) in enumerate(runs.items()):
            _draw_run(axes, history, metric, code, style_of(number), name)
        chance = first.entries[-1]["metrics"][metric]["languages"][code]["chance"]
        if chance is not None:
            axes.axhline(chance, color="#444444", linestyle="--", linewidth=1, label=f"chance ({chance:.2g})")
        axes.set_title(named_language(code), fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in panels[len(first.languages) :]:
        axes.remove()
    figure.supxlabel("step", fontsize=9)
    scale = scale_in(first.entries[-1], metric)
    figure.supylabel(titled(scale, ", mean of layers", "\n"), fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    note = "bands: 95 % intervals; dotted: floors"
    figure.legend(
        *(handles, names), loc="outside upper center", ncols=min(len(names), 5), fontsize=8, frameon=False,
        title=note, title_fontsize=7,
    )  # fmt: skip
    return figure


def _first_run(runs: Mapping[str, History], metric: str) -> History:
    """Return the first history, or refuse those that cannot stand side by side."""
    if len(runs) < 2:
        raise ArgumentError(f"runs has {len(runs)}; at least two are needed to compare")
    for name, history in runs.items():
        if not history.entries or metric not in history.metrics:
            raise ArgumentError(
                f"run {name!r} has no {metric!r}; it has: {', '.join(history.metrics) or 'nothing'}"
            )
    for (one, earlier), (other, later) in pairwise(runs.items()):
        prints = [each.entries[-1]["settings"]["fingerprint"] for each in (earlier, later)]
        if prints[0] != prints[1]:
            raise ReportError(f"runs {one!r} and {other!r} are of different sentences: measure both on one")
    return next(iter(runs.values()))


def _draw_run(
    axes: "Axes", history: History, metric: str, code: str, style: Mapping[str, Any], name: str
) -> None:
    found = [entry["metrics"][metric]["languages"][code] for entry in history.entries]
    ends = [[one[key][-1] for one in found] for key in ("value", "low", "high")]
    axes.plot(history.steps, ends[0], label=figure_text(name), linewidth=1.6, **style)
    axes.fill_between(history.steps, ends[1], ends[2], color=style["color"], alpha=0.15, linewidth=0)
    floor = found[-1]["floor"]
    if floor is not None:
        axes.axhline(floor, color=style["color"], linestyle=":", linewidth=1.2)
