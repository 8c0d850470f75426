"""`Stability`: how much a score moves with the sentences it is measured on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from xalign.errors import ArgumentError
from xalign.result_table import result_table
from xalign.statistics.draws import By, draw_rows

if TYPE_CHECKING:
    from rich.table import Table

    from xalign.results.report import AlignmentReport

Row = dict[str, Any]
_FEWEST_RANKED = 3  # languages, of which an order says something


@dataclass(frozen=True)
class Stability:
    """How much scores vary with the sentences drawn, per number of sentences.

    Attributes:
        rows: A dict per metric, language and n, and one per metric and n with `language` None, for the mean
            over languages. Keys: metric, language, n, draws, by (what was drawn: `"sentences"`,
            `"documents"` or `"blocks"`), mean, sd, low, high (95 % of the draws), width (median width of the
            draws' own 95 % intervals) and covered (the share of them that hold the mean of all draws), both
            None where no interval is made, and order: on the row of all languages, if there are at least 3,
            the mean Spearman correlation of their scores in a draw with their means over draws.
        rivals: Whether each draw is scored among its own sentences only (`"drawn"`), like a measurement of
            that many sentences, or among all (`"all"`).
    """

    rows: Sequence[Row]
    rivals: str

    def row(self, metric: str, language: str | None, n: int) -> Row:
        """Return the row of a metric, a language and a number of sentences.

        Raises:
            ArgumentError: There is none.
        """
        for row in self.rows:
            if (row["metric"], row["language"], row["n"]) == (metric, language, n):
                return row
        raise ArgumentError(f"metric={metric!r}, language={language!r}, n={n} was not drawn")

    def table(self) -> "Table":
        """Return the rows as a rich table."""
        among = "its own sentences" if self.rivals == "drawn" else "all sentences"
        table = result_table(
            "How much scores move with the sentences drawn",
            ["metric", "language"],
            ["n", "mean", "sd", "95 % of draws", "width", "covered", "order"],
            f"Each draw is scored among {among}. covered: draws whose own interval holds the mean.",
        )
        for row in self.rows:
            table.add_row(
                *(row["metric"], row["language"] or "mean", str(row["n"])),
                *(f"{row['mean']:.3f}", f"{row['sd']:.3f}", f"[{row['low']:.3f}, {row['high']:.3f}]"),
                *("" if row[key] is None else f"{row[key]:.2f}" for key in ("width", "covered", "order")),
            )
        return table


def stability_rows(
    metric: str,
    n: int,
    by: By,
    scores: Mapping[str, Float[np.ndarray, " draw"]],
    intervals: Mapping[str, Float[np.ndarray, "draw end"]],
) -> Iterator[Row]:
    """Yield the rows of a metric and a number of sentences.

    Args:
        metric: The metric.
        n: Sentences per draw.
        by: What was drawn.
        scores: Language -> the score of each draw.
        intervals: Language -> the interval of each draw; empty where none are made.
    """
    for language, found in scores.items():
        yield _row(metric, language, n, by, found, intervals.get(language))
    if len({len(found) for found in scores.values()}) == 1:
        table = np.stack(list(scores.values()))
        order = _order(table) if len(table) >= _FEWEST_RANKED else None
        yield _row(metric, None, n, by, table.mean(axis=0), None) | {"order": order}


def _row(
    metric: str,
    language: str | None,
    n: int,
    by: By,
    scores: Float[np.ndarray, " draw"],
    intervals: Float[np.ndarray, "draw end"] | None,
) -> Row:
    mean, (low, high) = float(scores.mean()), np.quantile(scores, [0.025, 0.975])
    row: Row = {
        **{"metric": metric, "language": language, "n": n, "draws": len(scores), "by": by},
        **{"mean": mean, "sd": float(scores.std(ddof=1)), "low": float(low), "high": float(high)},
        **{"width": None, "covered": None, "order": None},
    }
    if intervals is not None:
        row["width"] = float(np.median(intervals[:, 1] - intervals[:, 0]))
        row["covered"] = float(((intervals[:, 0] <= mean) & (mean <= intervals[:, 1])).mean())
    return row


def _order(table: Float[np.ndarray, "lang draw"]) -> float | None:
    """Return the mean Spearman correlation of each draw's scores with the means; None where all are equal."""
    means = rankdata(table.mean(axis=1))
    found = []
    for scores in table.T:
        ranks = rankdata(scores)
        if np.ptp(ranks) and np.ptp(means):
            found.append(np.corrcoef(ranks, means)[0, 1])
    return float(np.mean(found)) if found else None


def report_stability(
    report: "AlignmentReport", metric: str, n: Sequence[int] | None, draws: int, seed: int
) -> Stability:
    """Return how much the scores of a report vary with its sentences; see `AlignmentReport.stability`."""
    names = {code: report.pairs[code].documents for code in report.languages}
    fewest = min(report.pairs.counts.values())
    sizes = sorted({max(2, fewest // 4), max(2, fewest // 2)}) if n is None else list(n)
    rows: list[Row] = []
    for size in sizes:
        by: By = "sentences" if None in names.values() else "documents"
        scores = {}
        for code in report.languages:
            values = report.per_pair(metric, code)
            drawn = draw_rows(len(values), size, draws, by=by, documents=names[code], seed=seed)
            scores[code] = np.array([values[rows].mean() for rows in drawn])
        rows += stability_rows(metric, size, by, scores, {})
    return Stability(rows, rivals="all")
