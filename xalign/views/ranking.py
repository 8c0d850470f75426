"""`ranking`: a figure of ways to steer, the best first: language, meaning and both, next to chance."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentError
from xalign.views.picture import figure_class

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranking(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw a line per way to steer.

    Args:
        rows: Per way, the best first: `contestant`, `both` with `low` and `high`, `language`, `meaning`, and
            `random` and `shuffled`, which may be None. `Standing.ranking` returns these.

    Returns:
        A matplotlib figure (extra `plot`).

    Raises:
        ArgumentError: No row.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> shares = {"both": 0.8, "low": 0.7, "high": 0.9, "language": 0.75, "meaning": 0.9}
        >>> figure = ranking([{"contestant": "mean difference", **shares, "random": 0.3, "shuffled": None}])
    """
    new_figure = figure_class()
    if not rows:
        raise ArgumentError("rows is empty; there is nothing to draw")
    figure = new_figure(figsize=(8, 1.2 + 0.34 * len(rows)), layout="constrained", dpi=150)
    axes = figure.subplots()
    kinds = (
        ("language", "o", "C0", "in the language"),
        ("meaning", "s", "C2", "meaning kept"),
        ("random", "x", "0.5", "both, random control"),
        ("shuffled", "+", "0.5", "both, shuffled languages"),
    )
    for key, marker, color, label in kinds:
        known = [at for at, row in enumerate(rows) if row.get(key) is not None]
        if known:
            shares = [rows[at][key] for at in known]
            axes.scatter(shares, known, marker=marker, color=color, s=22, label=label, zorder=2)
    for at, row in enumerate(rows):
        axes.plot([row["both"]], [at], "D", color="black", markersize=6, zorder=3, label="" if at else "both")
        if row.get("low") is not None:
            axes.plot([row["low"], row["high"]], [at, at], color="black", linewidth=2, zorder=1)
    axes.set_yticks(range(len(rows)), [row["contestant"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share of sentences; both is the harmonic mean of language and meaning")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
