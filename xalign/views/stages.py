"""Before and after: several reports of the same sentences side by side, as a table and as a picture."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from xalign.errors import ArgumentError, MissingExtraError
from xalign.results.compare import refuse_incomparable
from xalign.results.report import AlignmentReport
from xalign.statistics.intervals import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Stages = Mapping[str, AlignmentReport]


def stages_table(stages: Stages) -> Table:
    """A line per language and metric: each stage's score, the last one's gain over the first, the floor.

    A language's gain is paired over sentences, with its 95 % interval.

    Args:
        stages: Name -> report, in order, at least two, of the same sentences.

    Raises:
        ArgumentError: Fewer than two reports.
        ReportError: Reports of other sentences, or read at other places.

    Example:
        >>> report = measure(model, tokenizer, pairs, ["nasca"])
        >>> [column.header for column in stages_table({"before": report, "after": report}).columns][:5]
        ['language', 'metric', 'before', 'after', 'gain [95 %]']
    """
    first, last = _ends(stages)
    table = Table(box=SIMPLE_HEAD, padding=0)
    for header in ("language", "metric"):
        table.add_column(header, no_wrap=True)
    for header in (*stages, "gain [95 %]", "floor"):
        table.add_column(header, justify="right", no_wrap=True)
    for language in (*last.languages, None):
        for number, metric in enumerate(last.measured):
            scores = [report.score(metric, language) for report in stages.values()]
            gain = f"{scores[-1] - scores[0]:+.3f}"
            if language is not None:
                change = last.per_pair(metric, language) - first.per_pair(metric, language)
                gain += " [{:+.3f}, {:+.3f}]".format(*bootstrap_interval(change, seed=last.seed))
            table.add_row(
                (language or "mean") if number == 0 else "",
                metric,
                *(f"{score:.3f}" for score in scores),
                gain,
                f"{last.floor(metric, language):.3f}",
            )
        table.add_section()
    return table


def stages_figure(stages: Stages, metric: str = "nasca") -> "Figure":
    """One panel per language: the metric by layer, a curve per stage, the lexical floor dotted.

    Args:
        stages: Name -> report, in order, at least two, of the same sentences.
        metric: A metric of the reports with one row, so not `"retrieval"`.

    Returns:
        A matplotlib figure, tied to no window.

    Raises:
        ArgumentError: Fewer than two reports, or a metric that they have not.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> report = measure(model, tokenizer, pairs, ["nasca"])
        >>> len(stages_figure({"before": report, "after": report}).axes) == len(report.languages)
        True
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("figures need matplotlib: pip install 'xalign[plot]'") from None
    _, last = _ends(stages)
    if any(metric not in report.metrics for report in stages.values()):
        raise ArgumentError(f"metric={metric!r} is not in every report: {', '.join(last.metrics)}")
    rows = 1 if len(last.languages) <= 4 else 2
    columns = -(-len(last.languages) // rows)
    figure = Figure(figsize=(2.4 * columns + 1, 2.6 * rows + 0.4), layout="constrained", dpi=150)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    layers = last.metrics[metric].layers
    for axes, language in zip(panels, last.languages, strict=False):
        for number, (name, report) in enumerate(stages.items()):
            values = report.metrics[metric].values[language].double().mean(1)
            style = {"color": "grey", "linestyle": "--"} if number == 0 else {"color": f"C{number - 1}"}
            axes.plot(values, marker="o", markersize=3, label=name, **style)
        axes.axhline(last.floor(metric, language), color="C3", linewidth=1, linestyle=":", label="floor")
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_title(language, fontsize=9)
        if metric != "margin":
            axes.set_ylim(-0.02, 1.02)
    for axes in panels[len(last.languages) :]:
        axes.remove()
    figure.supxlabel("layer", fontsize=9)
    figure.supylabel(metric.upper(), fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8, frameon=False)
    return figure


def _ends(stages: Stages) -> tuple[AlignmentReport, AlignmentReport]:
    if len(stages) < 2:
        raise ArgumentError(f"stages has {len(stages)} report(s); at least two are needed to compare")
    reports = list(stages.values())
    for report in reports[1:]:
        refuse_incomparable(reports[0], report)
    return reports[0], reports[-1]
