"""The heatmap: layers × languages of one metric, beside each language's lexical floor."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from xalign.escape import figure_text
from xalign.metrics.scale import Scale
from xalign.results.report import AlignmentReport
from xalign.results.standing import standing_by_layer, standing_of
from xalign.results.values import layer_name
from xalign.views.digits import decimals_of
from xalign.views.labels import ranged
from xalign.views.lines import named_language
from xalign.views.picture import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def heatmap(report: AlignmentReport, metric: str = "nasca") -> "Figure":
    """Draw a layer × language heatmap of one metric.

    There is a column per layer, then one for the score (the mean over layers) and, for a metric that has a
    lexical floor, one for the floor. Values are bold where their whole 95 % interval is better than both the
    language's floor and chance; the others are in italics, since they say nothing about meaning. So are all
    values of a language most of whose tokens are unknown; its label gives that share. The colours span the
    values shown, and the colour bar gives their range.

    Args:
        report: A report.
        metric: A metric of the report; `"retrieval"` shows the mean of its two directions.

    Returns:
        A matplotlib figure that belongs to no window; `figure.savefig("alignment.png")` saves it.

    Raises:
        ArgumentError: The report does not hold the metric.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> heatmap(report, "nasca").axes[0].get_title(loc="left")
        'NASCA with English eng_Latn'
    """
    new_figure = figure_class()
    scale = report.scale(metric)
    labels, grid = _grid(report, metric)
    styles = _styles(report, metric, labels)
    rows, columns = grid.shape
    figure = new_figure(figsize=(2.2 + 0.62 * columns, 1.5 + 0.42 * rows), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    image = axes.imshow(grid, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    _write_values(axes, grid, styles, scale, middle=low + 0.55 * (high - low))
    long = any(len(label) > 6 for label in labels.values())
    axes.set_xticks(list(labels), list(map(figure_text, labels.values())), rotation=90 if long else 0)
    axes.set_yticks(
        range(rows),
        [named_language(code, report.stats[code].unknown_share, "\n") for code in report.languages],
        fontsize=8,
    )
    axes.set_xlabel("layer")
    axes.set_ylabel("language")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    step = "" if report.step is None else f", step {report.step}"
    pivot = named_language(report.pairs.pivot)
    axes.set_title(f"{figure_text(scale.title)} with {pivot}{step}", loc="left")
    better = "" if scale.higher_is_better else "lower is better"
    figure.colorbar(
        image, ax=axes, label=", ".join(part for part in (ranged(scale, low, high), better) if part)
    )
    if styles:
        side = "above" if scale.higher_is_better else "below"
        note = f"bold: whole 95 % interval {side} {_bars(report, metric)}; italic: not"
        figure.supxlabel(note, fontsize=8)
    return figure


def _grid(
    report: AlignmentReport, metric: str
) -> tuple[dict[int, str], Float[np.ndarray, "language column"]]:
    """Return the labels of the columns, and the values.

    Empty columns set the score and the floor apart from the layers, and one stack from the other.
    """
    sites = report.sites(metric)
    stacks = list(dict.fromkeys(site.stack for site in sites))
    layer_columns = [place + stacks.index(site.stack) for place, site in enumerate(sites)]
    labels = {column: str(layer_name(site)) for column, site in zip(layer_columns, sites, strict=True)}
    mean = layer_columns[-1] + 2
    labels[mean] = "mean"
    has_floor = report.floor(metric) is not None
    if has_floor:
        labels[mean + 1] = "floor"
    grid = np.full((len(report.languages), max(labels) + 1), np.nan)
    for row, code in enumerate(report.languages):
        grid[row, layer_columns] = report.mean_by_layer(metric, code)
        grid[row, mean] = report.score(metric, code)
        if has_floor:
            grid[row, mean + 1] = report.floor(metric, code)
    return labels, grid


def _styles(
    report: AlignmentReport, metric: str, labels: Mapping[int, str]
) -> dict[tuple[int, int], dict[str, Any]]:
    """Return how the value of each cell is set that has something to exceed: bold where it clearly does."""
    styles: dict[tuple[int, int], dict[str, Any]] = {}
    columns = [column for column, label in labels.items() if label != "floor"]
    for row, code in enumerate(report.languages):
        score = standing_of(report, metric, code)
        for column, stands in zip(columns, [*standing_by_layer(report, metric, code), score], strict=True):
            if stands is not None:
                styles[row, column] = {"weight": "bold"} if stands == "better" else {"style": "italic"}
    return styles


def _bars(report: AlignmentReport, metric: str) -> str:
    """Name what the values of a metric must exceed: the floor, and chance with its value."""
    all_levels = [report.chance(metric, code) for code in report.languages]
    levels = [level for level in all_levels if level is not None]
    shown = " to ".join(f"{level:.2g}" for level in sorted({min(levels), max(levels)})) if levels else ""
    name = f"{report.pairs.floor_name} floor" if report.pairs.is_audio else "floor"
    bars = [f"the language's {name}"] if report.floor(metric) is not None else []
    return " and ".join([*bars, f"chance ({shown})"] if levels else bars)


def _write_values(
    axes: "Axes",
    grid: Float[np.ndarray, "language column"],
    styles: Mapping[tuple[int, int], dict[str, Any]],
    scale: Scale,
    middle: float,
) -> None:
    """Write each value into its cell, in the style of that cell."""
    decimals = decimals_of(scale, grid[~np.isnan(grid)].tolist())
    for row, column in zip(*np.nonzero(~np.isnan(grid)), strict=True):
        value = float(grid[row, column])
        axes.text(
            column,
            row,
            _short(value, scale, decimals),
            ha="center",
            va="center",
            fontsize=8,
            color="black" if value > middle else "white",
            **styles.get((int(row), int(column)), {}),
        )


def _short(value: float, scale: Scale, decimals: int) -> str:
    """Return a number that fits a cell: two decimals for shares and cosines, without the zero in front."""
    if scale.bounds is None:
        return f"{value:z.{max(decimals - 1, 0)}f}" if decimals < 6 else f"{value:.1e}"
    return f"{value:z.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.1f}"
