"""The emergence figure: how alignment develops along a training run, by layer and by language."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xalign.errors import ArgumentError
from xalign.escape import figure_text
from xalign.results.report import AlignmentReport
from xalign.views.labels import ranged
from xalign.views.lines import draw_floors, named_language, style_of
from xalign.views.picture import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def emergence_figure(
    reports: Sequence[AlignmentReport],
    losses: Mapping[int, float] | None = None,
    metric: str = "nasca",
    references: Mapping[str, float] | None = None,
) -> "Figure":
    """Draw one metric along a run: a layer × step map, a curve per language, and the training loss.

    The curve of a language has the band of its 95 % intervals. Its lexical floor, if the metric has one, is a
    dotted line of the same colour with its value at the right; where floors coincide, their dots alternate.
    Chance is a dashed grey line. The colours of the map span the values shown.

    Args:
        reports: At least two reports of one run, with their steps.
        losses: Step -> training loss, drawn in a panel of its own.
        metric: A row of the reports, such as one direction of retrieval.
        references: Name -> a score to compare with, drawn as a line of dashes and dots.

    Returns:
        A matplotlib figure that belongs to no window.

    Raises:
        ArgumentError: Fewer than two reports, reports without steps, or a metric that is not a row of them.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> reports = [measure(model, tokenizer, pairs, ["nasca"], step=step) for step in (0, 100)]
        >>> [axes.get_title(loc="left") for axes in emergence_figure(reports).axes[:2]]
        ['NASCA by layer, mean of languages', 'NASCA by language, mean of layers']
    """
    new_figure = figure_class()
    if len(reports) < 2 or any(report.step is None for report in reports):
        raise ArgumentError(f"{len(reports)} report(s) given: a curve needs at least two, each with its step")
    if metric not in reports[0].metrics:
        known = ", ".join(reports[0].metrics)
        raise ArgumentError(f"metric={metric!r} has no row of its own here: {known}")
    panels = 2 if losses is None else 3
    figure = new_figure(figsize=(4.6 * panels, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots(1, panels)
    _draw_layers(figure, axes[0], reports, metric)
    _draw_languages(axes[1], reports, metric, references or {})
    if losses is not None:
        axes[2].plot(list(losses), list(losses.values()), color="black", linewidth=1)
        axes[2].set(xlabel="step", ylabel="loss")
        axes[2].set_title("training loss of the same run", loc="left", fontsize=9)
    return figure


def _draw_layers(figure: "Figure", axes: "Axes", reports: Sequence[AlignmentReport], metric: str) -> None:
    """Draw the map of layers × steps, averaged over languages."""
    scale, layers = reports[0].scale(metric), reports[0].metrics[metric].layers
    by_layer = np.array([report.mean_by_layer(metric) for report in reports]).T
    low, high = float(by_layer.min()), float(by_layer.max())
    image = axes.imshow(by_layer, cmap="viridis", vmin=low, vmax=high, aspect="auto", origin="lower")
    shown = range(0, len(reports), -(-len(reports) // 6))
    axes.set_xticks(shown, [str(reports[column].step) for column in shown])
    axes.set_yticks(range(len(layers)), [figure_text(layer) for layer in layers])
    axes.set(xlabel="step", ylabel="layer")
    axes.set_title(f"{figure_text(scale.title)} by layer, mean of languages", loc="left", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8, label=ranged(scale, low, high))


def _draw_languages(
    axes: "Axes", reports: Sequence[AlignmentReport], metric: str, references: Mapping[str, float]
) -> None:
    """Draw a curve per language with its band and its floor."""
    first, scale = reports[0], reports[0].scale(metric)
    steps = [int(report.step or 0) for report in reports]
    colours, floors = {}, {}
    for number, code in enumerate(first.languages):
        style = style_of(number)
        colours[code] = style["color"]
        # As floats, where what is not known is NaN, and not drawn.
        intervals = np.array([report.interval(metric, code) for report in reports], dtype=float)
        label = named_language(code, reports[-1].stats[code].unknown_share)
        axes.plot(steps, [report.score(metric, code) for report in reports], **style, label=label)
        axes.fill_between(
            steps, intervals[:, 0], intervals[:, 1], color=colours[code], alpha=0.2, linewidth=0
        )
        floor = first.floor(metric, code)
        if floor is not None:
            floors[code] = floor
    chance = first.chance(metric, first.languages[0])
    if chance is not None:
        axes.axhline(chance, color="grey", linestyle="--", linewidth=1, label=f"chance ({chance:.2g})")
    for label, score in references.items():
        axes.axhline(score, color="black", linestyle="-.", linewidth=1, label=figure_text(label))
    axes.set(xlabel="step", ylabel=figure_text(scale.unit))
    if scale.is_share:
        axes.set_ylim(0, 1)
    draw_floors(axes, floors, colours)
    axes.set_title(f"{figure_text(scale.title)} by language, mean of layers", loc="left", fontsize=9)
    dotted = "" if first.floor(metric) is None else f"; dotted: {first.pairs.floor_name} floors"
    legend = f"95 % bands{dotted}, with their heights" if dotted else "95 % bands"
    axes.legend(loc="upper left", fontsize=7, title=legend, title_fontsize=7)
