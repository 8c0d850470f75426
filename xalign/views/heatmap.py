"""The heatmap: layers × languages of one metric, with each language's lexical floor beside it."""

from typing import TYPE_CHECKING

import numpy as np

from xalign.errors import MissingExtraError
from xalign.results.report import AlignmentReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heatmap(report: AlignmentReport, metric: str = "nasca") -> "Figure":
    """A layer × language heatmap of one metric.

    A column per layer, then the score (mean over layers) and the lexical floor. Values that are not above
    their language's floor are set in italics: they say nothing about meaning.

    Args:
        report: What `measure` gave.
        metric: A metric of the report; `"retrieval"` shows the mean of its two directions.

    Returns:
        A matplotlib figure, tied to no window; `figure.savefig("alignment.png")` saves it.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> heatmap(report, "nasca").axes[0].get_title(loc="left")
        'NASCA with eng_Latn'
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("figures need matplotlib: pip install 'xalign[plot]'") from None
    parts = [name for name in report.metrics if name == metric or name.startswith(f"{metric}_")]
    report.score(metric)  # refuses a metric that is not there
    layers = report.metrics[parts[0]].layers
    values = np.array(
        [
            np.mean(
                [report.metrics[part].values[code].double().mean(dim=1).numpy() for part in parts], axis=0
            )
            for code in report.languages
        ]
    )
    scores = np.array([report.score(metric, code) for code in report.languages])
    floors = np.array([report.floor(metric, code) for code in report.languages])

    rows, columns = values.shape
    figure = Figure(figsize=(2.2 + 0.62 * (columns + 2.6), 1.5 + 0.42 * rows), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    # Two empty half-columns set score and floor apart.
    grid = np.full((rows, columns + 3), np.nan)
    grid[:, :columns], grid[:, -2], grid[:, -1] = values, scores, floors
    low, high = (0.0, 1.0) if metric != "margin" else (float(np.nanmin(grid)), float(np.nanmax(grid)))
    image = axes.imshow(grid, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    for row, column in zip(*np.nonzero(~np.isnan(grid)), strict=True):
        value = float(grid[row, column])
        above = column == columns + 2 or value > floors[row]
        axes.text(
            column,
            row,
            _short(value),
            ha="center",
            va="center",
            fontsize=8,
            style="normal" if above else "italic",
            weight="bold" if above and column <= columns + 1 else "normal",
            color="black" if value > low + 0.55 * (high - low) else "white",
        )
    axes.set_xticks([*range(columns), columns + 1, columns + 2], [*map(str, layers), "mean", "floor"])
    axes.set_yticks(range(rows), report.languages)
    axes.set_xlabel("layer")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    step = "" if report.step is None else f", step {report.step}"
    axes.set_title(f"{metric.upper()} with {report.pairs.pivot}{step}", loc="left")
    figure.colorbar(image, ax=axes, label="share of pairs" if metric != "margin" else "cosine")
    figure.supxlabel("layers and mean: bold above the language's lexical floor, italic not", fontsize=8)
    return figure


def _short(value: float) -> str:
    """Two decimals without a zero in front, and no minus before nothing."""
    return f"{value:z.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.1f}"
