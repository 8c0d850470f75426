"""The emergence figure: how alignment comes along a training run, by layer and by language."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xalign.errors import ArgumentError, MissingExtraError
from xalign.results.report import AlignmentReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def emergence_figure(
    reports: Sequence[AlignmentReport],
    losses: Mapping[int, float] | None = None,
    metric: str = "nasca",
    references: Mapping[str, float] | None = None,
) -> "Figure":
    """Draws one metric along a run: layers × steps, a curve per language, and the run's loss.

    Each language's curve has the band of its 95 % intervals; its lexical floor is dotted in its colour.

    Args:
        reports: At least two reports of one run, with their steps.
        losses: Step -> training loss, drawn in a panel of its own.
        metric: A metric of the reports with one row, so not `"retrieval"`.
        references: Name -> score of something to compare with, drawn as a dashed line.

    Returns:
        A matplotlib figure, tied to no window.

    Raises:
        ArgumentError: Fewer than two reports, or reports without steps.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> reports = [measure(model, tokenizer, pairs, ["nasca"], step=step) for step in (0, 100)]
        >>> [axes.get_title(loc="left") for axes in emergence_figure(reports).axes[:2]]
        ['NASCA by layer, mean of languages', 'NASCA by language, mean of layers']
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("figures need matplotlib: pip install 'xalign[plot]'") from None
    if len(reports) < 2 or any(report.step is None for report in reports):
        raise ArgumentError(f"{len(reports)} report(s) given: a curve needs at least two, each with its step")
    steps = [int(report.step or 0) for report in reports]
    first = reports[0]
    layers = first.metrics[metric].layers if metric in first.metrics else ()
    if not layers:
        raise ArgumentError(f"metric={metric!r} has no row of its own here: {', '.join(first.metrics)}")
    by_layer = np.array(
        [
            np.mean(
                [report.metrics[metric].values[code].double().mean(1).numpy() for code in report.languages], 0
            )
            for report in reports
        ]
    ).T
    panels = 2 if losses is None else 3
    figure = Figure(figsize=(4.6 * panels, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots(1, panels)
    name = metric.upper()

    image = axes[0].imshow(by_layer, cmap="viridis", vmin=0, vmax=1, aspect="auto", origin="lower")
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 6)).astype(int))
    axes[0].set_xticks(shown, [str(steps[column]) for column in shown])
    axes[0].set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes[0].set(xlabel="step", ylabel="layer")
    axes[0].set_title(f"{name} by layer, mean of languages", loc="left", fontsize=9)
    figure.colorbar(image, ax=axes[0], shrink=0.8)

    for number, code in enumerate(first.languages):
        colour = f"C{number}"
        intervals = np.array([report.interval(metric, code) for report in reports])
        axes[1].plot(steps, [report.score(metric, code) for report in reports], color=colour, label=code)
        axes[1].fill_between(steps, intervals[:, 0], intervals[:, 1], color=colour, alpha=0.2, linewidth=0)
        axes[1].axhline(first.floor(metric, code), color=colour, linestyle=":", linewidth=1)
    for label, score in (references or {}).items():
        axes[1].axhline(score, color="black", linestyle="--", linewidth=1, label=label)
    axes[1].set(xlabel="step", ylim=(0, 1))
    axes[1].set_title(f"{name} by language, mean of layers", loc="left", fontsize=9)
    axes[1].legend(loc="upper left", fontsize=7, title="95 % bands; dotted: lexical floors", title_fontsize=7)

    if losses is not None:
        axes[2].plot(list(losses), list(losses.values()), color="black", linewidth=1)
        axes[2].set(xlabel="step")
        axes[2].set_title("training loss of the same run", loc="left", fontsize=9)
    return figure
