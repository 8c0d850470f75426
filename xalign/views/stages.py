"""Before and after: several reports of the same sentences side by side, as a table and as a figure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from xalign.errors import ArgumentError
from xalign.escape import cell, figure_text
from xalign.results.compare import refuse_incomparable
from xalign.results.report import AlignmentReport
from xalign.results.resampling import layer_intervals, resampled
from xalign.results.values import layer_name
from xalign.statistics.intervals import KnownInterval, bootstrap_interval, known_interval
from xalign.views.digits import decimals_of
from xalign.views.labels import titled
from xalign.views.lines import named_language, style_of
from xalign.views.picture import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Stages = Mapping[str, AlignmentReport]


def stages_table(stages: Stages) -> Table:
    """Return a table with each stage's score, the change from the first to the last, and the lexical floor.

    There is a line per language and metric. The change of a language is paired over sentences, with its 95 %
    interval. The floor is left blank for a metric that has none.

    Args:
        stages: Name -> report, in order, at least two, of the same sentences.

    Raises:
        ArgumentError: Fewer than two reports.
        ReportError: Reports of different sentences, or read at different places.

    Example:
        >>> report = measure(model, tokenizer, pairs, ["nasca"])
        >>> table = stages_table({"before": report, "after": report})
        >>> [str(column.header) for column in table.columns][:5]
        ['language', 'metric', 'before', 'after', 'after − before [95 %]']
    """
    _, last = _ends(stages)
    decimals, names = {metric: _decimals(stages, metric) for metric in last.measured}, list(stages)
    table = Table(box=SIMPLE_HEAD, padding=0)
    for header in ("language", "metric"):
        table.add_column(header, no_wrap=True)
    for title in (*stages, f"{names[-1]} − {names[0]} [95 %]", "floor"):
        table.add_column(cell(title), justify="right", no_wrap=True)
    for language in (*last.languages, None):
        for number, metric in enumerate(last.measured):
            name = (language or "mean") if number == 0 else ""
            table.add_row(cell(name), cell(metric), *_cells(stages, metric, language, decimals[metric]))
        table.add_section()
    return table


def _decimals(stages: Stages, metric: str) -> int:
    reports = list(stages.values())
    scores = [report.score(metric, code) for report in reports for code in report.languages]
    return decimals_of(reports[-1].scale(metric), scores)


def _cells(stages: Stages, metric: str, language: str | None, decimals: int) -> list[str]:
    """Return the scores of the stages, the change and the floor, as text."""
    _, last = _ends(stages)
    scores = [report.score(metric, language) for report in stages.values()]
    difference, (low, high) = change_of_stages(stages, metric, language)
    change = f"{difference:+.{decimals}f}"
    change += "" if low is None else f" [{low:+.{decimals}f}, {high:+.{decimals}f}]"
    floor = last.floor(metric, language)
    return [
        *(f"{score:.{decimals}f}" for score in scores),
        change,
        "" if floor is None else f"{floor:.{decimals}f}",
    ]


def change_of_stages(stages: Stages, metric: str, language: str | None) -> tuple[float, KnownInterval]:
    """Return the change from the first stage to the last, and its 95 % interval, paired over sentences.

    The interval is (None, None) for the mean of all languages (None), and where it is not known.
    """
    first, last = _ends(stages)
    difference = last.score(metric, language) - first.score(metric, language)
    if language is None:
        return difference, (None, None)
    differences = last.per_pair(metric, language) - first.per_pair(metric, language)
    documents = resampled(last, language)
    return difference, known_interval(*bootstrap_interval(differences, seed=last.seed, documents=documents))


def stages_figure(stages: Stages, metric: str = "nasca") -> "Figure":
    """Draw a panel per language: the metric by layer, one curve per stage with the band of its intervals.

    The lexical floor is dotted, and chance is dashed.

    Args:
        stages: Name -> report, in order, at least two, of the same sentences.
        metric: A row of the reports, such as one direction of retrieval.

    Returns:
        A matplotlib figure that belongs to no window.

    Raises:
        ArgumentError: Fewer than two reports, or a metric that one of them does not hold.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> report = measure(model, tokenizer, pairs, ["nasca"])
        >>> len(stages_figure({"before": report, "after": report}).axes) == len(report.languages)
        True
    """
    new_figure = figure_class()
    _, last = _ends(stages)
    if any(metric not in report.metrics for report in stages.values()):
        raise ArgumentError(f"metric={metric!r} is not in every report: {', '.join(last.metrics)}")
    rows = 1 if len(last.languages) <= 4 else 2
    columns = -(-len(last.languages) // rows)
    figure = new_figure(figsize=(2.4 * columns + 1, 2.6 * rows + 0.4), layout="constrained", dpi=150)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, language in zip(panels, last.languages, strict=False):
        _draw_panel(axes, stages, metric, language)
    for axes in panels[len(last.languages) :]:
        axes.remove()
    figure.supxlabel("layer", fontsize=9)
    figure.supylabel(titled(last.scale(metric)), fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8, frameon=False)
    return figure


def _draw_panel(axes: "Axes", stages: Stages, metric: str, language: str) -> None:
    _, last = _ends(stages)
    scale = last.scale(metric)
    for number, (name, report) in enumerate(stages.items()):
        layers = report.metrics[metric].values[language].double().numpy()
        intervals = layer_intervals(report, layers, scale, language)
        # The first stage is drawn thin and on top, so that it is seen where another has the same values.
        style: dict[str, Any] = {"color": style_of(number - 1)["color"], "linewidth": 2, "markersize": 3}
        if number == 0:
            style = {"color": "black", "linewidth": 1, "markersize": 5, "markerfacecolor": "none"}
            style["zorder"] = 3
        axes.plot(layers.mean(axis=1), marker="o", label=figure_text(name), **style)
        lows, highs = zip(*intervals, strict=True)
        axes.fill_between(range(len(layers)), lows, highs, color=style["color"], alpha=0.15, linewidth=0)
    shown = [named_language(language, last.stats[language].unknown_share)]
    for name, bar, line in (
        ("floor", last.floor(metric, language), ":"),
        ("chance", last.chance(metric, language), "--"),
    ):
        if bar is not None:
            axes.axhline(bar, color="#444444", linewidth=1.2, linestyle=line, label=name)
            shown.append(f"{name} {bar:.2g}")
    sites = last.sites(metric)
    two_stacks = len({site.stack for site in sites}) > 1
    axes.set_xticks(
        range(len(sites)), [figure_text(layer_name(site)) for site in sites], rotation=90 if two_stacks else 0
    )
    axes.tick_params(labelsize=8)
    axes.set_title("\n".join(filter(None, [shown[0], ", ".join(shown[1:])])), fontsize=8)
    if scale.is_share:
        axes.set_ylim(-0.02, 1.02)


def _ends(stages: Stages) -> tuple[AlignmentReport, AlignmentReport]:
    """Return the first and the last report of stages that can be compared."""
    if len(stages) < 2:
        raise ArgumentError(f"stages has {len(stages)} report(s); at least two are needed to compare")
    reports = list(stages.values())
    for report in reports[1:]:
        refuse_incomparable(reports[0], report)
    return reports[0], reports[-1]
