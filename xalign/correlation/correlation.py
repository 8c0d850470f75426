"""`Correlation`: how alignment correlates with downstream scores, as rows, a table, a figure and a page."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xalign.correlation.join import Point
from xalign.correlation.outcome import LeftOut
from xalign.result_table import result_table
from xalign.statistics.correlations import (
    FEWEST,
    Resample,
    drawn_times,
    interval_of_draws,
    partial,
    partial_of_draws,
    pearson,
    pearson_of_draws,
    spearman,
    spearman_of_draws,
)
from xalign.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Row = dict[str, Any]
OfDraws = Callable[[Any], np.ndarray]
_NAMES = ("pearson", "spearman", "partial")


@dataclass(frozen=True)
class Correlation:
    """How alignment and other predictors correlate with downstream scores.

    Attributes:
        points: What was joined: a model, a step, a language and a benchmark each.
        left_out: What was not used, with the reason.
        resample: What the intervals resample: `"models"` (checkpoints count as such), `"languages"` or
            `"both"`.
        seed: The seed of the intervals.
        draws: The number of draws of the intervals.
    """

    points: Sequence[Point]
    left_out: Sequence[LeftOut]
    resample: Resample = "both"
    seed: int = 0
    draws: int = 2000

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks, those with most points first."""
        names = [point.benchmark for point in self.points]
        return sorted(dict.fromkeys(names), key=lambda name: -names.count(name))

    @property
    def predictors(self) -> list[str]:
        """What scores are correlated with: the metrics first, then the other predictors."""
        return list(dict.fromkeys(name for point in self.points for name in point.values))

    def of(self, benchmark: str, predictor: str) -> list[Point]:
        """Return the points of a benchmark that have a predictor."""
        return [one for one in self.points if one.benchmark == benchmark and predictor in one.values]

    def to_rows(self) -> list[Row]:
        """Return a dict per benchmark and predictor with at least four points.

        The keys are benchmark, predictor, points, models, languages, and of pearson, spearman and partial the
        value and, with `_low` and `_high`, its 95 % interval. `partial` is Pearson's correlation of both
        after the logarithm of the data size is regressed out, over the points whose size is known; None
        without any. The correlation of a constant predictor is None.
        """
        return [dict(row) for row in self._rows]

    @cached_property
    def _rows(self) -> list[Row]:
        rows = [self._row(benchmark, name) for benchmark in self.benchmarks for name in self.predictors]
        return [row for row in rows if row is not None]

    def _row(self, benchmark: str, predictor: str) -> Row | None:
        points = self.of(benchmark, predictor)
        if len(points) < FEWEST:
            return None
        row: Row = {
            "benchmark": benchmark,
            "predictor": predictor,
            "points": len(points),
            "models": len({one.model for one in points}),
            "languages": len({one.language for one in points}),
        }
        sides = _sides(points, predictor)
        row |= self._numbers("pearson", points, pearson(*sides), lambda t: pearson_of_draws(*sides, t))
        row |= self._numbers("spearman", points, spearman(*sides), lambda t: spearman_of_draws(*sides, t))
        sized = [one for one in points if one.data_size is not None and one.data_size > 0]
        if len(sized) >= FEWEST:
            given = (*_sides(sized, predictor), np.log([float(one.data_size or 0) for one in sized]))
            row |= self._numbers("partial", sized, partial(*given), lambda t: partial_of_draws(*given, t))
        return row | {key: None for name in _NAMES for key in _keys(name) if key not in row}

    def _numbers(self, name: str, points: Sequence[Point], value: float | None, of_draws: OfDraws) -> Row:
        """Return a correlation with its interval, under its keys."""
        times = drawn_times(
            [one.model for one in points],
            [one.language for one in points],
            resample=self.resample,
            seed=self.seed,
            draws=self.draws,
        )
        known = value is not None and times is not None
        low, high = interval_of_draws(of_draws(times)) if known else (None, None)
        return dict(zip(_keys(name), (value, low, high), strict=True))

    def table(self) -> "Table":
        """Return the correlations as a rich table."""
        from xalign.escape import cell

        drawn = {"both": "models and languages", "models": "models", "languages": "languages"}
        table = result_table(
            "How alignment goes with downstream scores",
            ["benchmark", "against"],
            ["points", "Pearson", "Spearman", "partial"],
            f"95 % intervals resample {drawn[self.resample]}. partial: without the logarithm of the data "
            "size.",
        )
        last = None
        for row in self.to_rows():
            name = "" if row["benchmark"] == last else row["benchmark"]
            last = row["benchmark"]
            shown = [said(row, kind) for kind in _NAMES]
            points = f"{row['points']}"
            table.add_row(cell(name), cell(row["predictor"]), points, *shown)
        return table

    def figure(self) -> "Figure":
        """Draw a panel per benchmark and predictor, with a point per model and language (extra `plot`)."""
        from xalign.views.scatter import scatter

        return scatter(self._panels())

    def to_html(self, path: str | Path) -> Path:
        """Write the correlations as one page that opens from disk, with scatters and what was left out."""
        from xalign.views.correlation_page import write_correlation_page

        rows = [{**row, **{name: said(row, name) for name in _NAMES}} for row in self.to_rows()]
        left_out = [(one.what, one.reason, one.source) for one in self.left_out]
        return write_correlation_page(path, rows, self._panels(), left_out, self.resample)

    def _panels(self) -> list[Any]:
        from xalign.views.scatter import Panel

        return [
            Panel(
                title=f"{row['benchmark']}: Pearson {said(row, 'pearson')}",
                x=row["predictor"],
                y=row["benchmark"],
                points=[
                    (one.values[row["predictor"]], one.score, one.model, one.language)
                    for one in self.of(row["benchmark"], row["predictor"])
                ],
            )
            for row in self.to_rows()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return correlations, points and what was left out, as JSON holds them."""
        return {
            "rows": self.to_rows(),
            "points": [asdict(one) for one in self.points],
            "left_out": [asdict(one) for one in self.left_out],
            "resample": self.resample,
            "seed": self.seed,
        }

    def save(self, file: str | Path) -> Path:
        """Write what `to_dict` returns as JSON, completely or not at all."""
        path = Path(file)
        write_whole(path, json.dumps(self.to_dict(), ensure_ascii=False, indent=1).encode())
        return path


def said(row: Row, name: str) -> str:
    """Return a correlation with its interval as text; empty where there is none.

    Example:
        >>> said({"pearson": 0.9, "pearson_low": 0.8, "pearson_high": 0.95}, "pearson")
        '+0.90 [+0.80, +0.95]'
    """
    value, low, high = (row[key] for key in _keys(name))
    if value is None:
        return ""
    return f"{value:+.2f}" if low is None else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _keys(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _sides(points: Sequence[Point], predictor: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([one.values[predictor] for one in points]), np.array([one.score for one in points])
