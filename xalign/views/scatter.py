"""`scatter`: panels of points, one per model and language, such as accuracy against alignment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xalign.errors import ArgumentError
from xalign.escape import figure_text
from xalign.views.picture import figure_class

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: What stands above it.
        x: The name of the horizontal axis.
        y: The name of the vertical axis.
        points: x, y, model and language of each point.
    """

    title: str
    x: str
    y: str
    points: Sequence[tuple[float, float, str, str]]


def scatter(panels: Sequence[Panel]) -> "Figure":
    """Draw panels beside one another, a colour per language.

    Args:
        panels: The panels.

    Returns:
        A matplotlib figure (extra `plot`).

    Raises:
        ArgumentError: No panel.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> points = [(0.1, 0.3, "a model", "deu_Latn"), (0.4, 0.8, "a model", "fra_Latn")]
        >>> len(scatter([Panel("Accuracy", "NASCA", "accuracy", points)]).axes)
        1
    """
    new_figure = figure_class()
    if not panels:
        raise ArgumentError("panels is empty; there is nothing to draw")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(figsize=(4 * columns, 3.6 * rows), layout="constrained", dpi=150)
    languages = list(dict.fromkeys(point[3] for panel in panels for point in panel.points))
    axes_of_panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(axes_of_panels, panels, strict=False):
        for place, language in enumerate(languages):
            own = [point for point in panel.points if point[3] == language]
            axes.scatter(
                [point[0] for point in own],
                [point[1] for point in own],
                s=18,
                color=f"C{place % 10}",
                marker="os^Dv"[place // 10 % 5],
                label=language,
            )
        axes.set_title(figure_text(panel.title), loc="left", fontsize=9)
        axes.set_xlabel(figure_text(panel.x), fontsize=9)
        axes.set_ylabel(figure_text(panel.y), fontsize=9)
    for axes in axes_of_panels[len(panels) :]:
        axes.remove()
    handles, names = axes_of_panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure
