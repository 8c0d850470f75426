"""`measure_stability`: how much scores vary with the number and the choice of sentences."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.measurement.compared import Compared
from xalign.measurement.options import MeasureOptions, check_options
from xalign.measurement.run import DEFAULT_METRICS, Metrics
from xalign.metrics.compute import compute_values
from xalign.metrics.metric import NULL, Compute, Metric
from xalign.model.inputs_for import Processing
from xalign.pairs.bitext import Bitext
from xalign.pairs.parallel import ParallelPairs
from xalign.results.scores import interval_of, score_of
from xalign.results.stability import Stability, stability_rows
from xalign.robustness.states import PooledStates
from xalign.statistics.documents import documents_of
from xalign.statistics.draws import By, draw_rows

Drawn = list[np.ndarray]
Users = Sequence[tuple[str, str, Compute]]


def measure_stability(
    model: nn.Module,
    tokenizer: Processing,
    pairs: ParallelPairs[Any] | str | Path = "bundled",
    metrics: Metrics = DEFAULT_METRICS,
    *,
    n: Sequence[int] | None = None,
    draws: int = 50,
    by: By | None = None,
    **options: Unpack[MeasureOptions],
) -> Stability:
    """Measure how much scores vary with the number of sentences, and with the choice of sentences.

    The model runs once over all pairs. Each draw is scored among its own sentences, as if only these had been
    measured. If n is large, draws share sentences, so give a corpus several times as large as n.

    Args:
        model: As in `measure`, and so are the next three.
        tokenizer: Its tokenizer.
        pairs: The corpus that is drawn from.
        metrics: What to measure.
        n: How many sentences to draw; if None, a quarter and a half of them.
        draws: The number of draws for each n.
        by: What to draw: `"sentences"`, `"documents"` or `"blocks"` of lines that follow one another, as a
            user takes the first n. None draws documents where the pairs name them, else sentences.
        **options: The options of `measure`. `seed` seeds the draws.

    Returns:
        The rows, with the width of the draws' intervals, and the share of them that hold the mean of all
        draws.

    Raises:
        ArgumentError: More sentences than there are, an unknown way to draw, or as `measure`.

    Example:
        >>> found = measure_stability(model, tokenizer, pairs, ["nasca"], n=[4, 8], draws=5)
        >>> [(row["n"], row["language"]) for row in found.rows]
        [(4, 'deu_Latn'), (4, None), (8, 'deu_Latn'), (8, None)]
    """
    check_options(measure_stability, options)
    draws, seed = whole_number("draws", draws, least=2), whole_number("seed", options.get("seed", 0))
    read = PooledStates(model, tokenizer, pairs, metrics, **options)
    names = {code: bitext.documents for code, bitext in read.pairs.items()}
    way: By = by if by is not None else "sentences" if None in names.values() else "documents"
    drawn = {
        (code, size): draw_rows(len(bitext), size, draws, by=way, documents=bitext.documents, seed=seed)
        for code, bitext in read.pairs.items()
        for size in _sizes(n, read.pairs, read.metrics)
    }
    scores: dict[tuple[str, int], dict[str, np.ndarray]] = defaultdict(dict)
    intervals: dict[tuple[str, int], dict[str, np.ndarray]] = defaultdict(dict)
    for language, compared in read.compared():
        subsets = {size: rows for (code, size), rows in drawn.items() if code == language}
        for (metric, size), values in _values(read, compared, subsets).items():
            found = [_scored(read, metric, *one, read.pairs[language], seed) for one in values]
            scores[metric, size][language] = np.array([score for score, _ in found])
            intervals[metric, size][language] = np.array([ends for _, ends in found])
    by_size = sorted(scores, key=lambda key: key[1])
    rows = [stability_rows(*key, way, scores[key], intervals[key]) for key in by_size]
    return Stability([row for found in rows for row in found], rivals="drawn")


def _sizes(n: Sequence[int] | None, pairs: ParallelPairs[Any], metrics: Sequence[Metric]) -> list[int]:
    fewest, least = min(pairs.counts.values()), max(metric.least_pairs for metric in metrics)
    if n is None:
        return sorted({max(least, fewest // 4), max(least, fewest // 2)})
    sizes = sorted({whole_number("n", one, least=2) for one in n})
    if not sizes or sizes[0] < least:
        raise ArgumentError(f"n={list(n)!r:.60} must name numbers of at least {least} pairs")
    return sizes


def _values(
    read: PooledStates, compared: Compared, drawn: Mapping[int, Drawn]
) -> dict[tuple[str, int], list[tuple[np.ndarray, list[np.ndarray]]]]:
    """Return metric and size -> per draw its rows, and the values [layer, pair] of each of its parts."""
    layers: dict[tuple[str, int, int], list[Tensor]] = defaultdict(list)
    for reading, similarity, sides in compared:
        for size, subsets in drawn.items():
            for number, rows in enumerate(subsets):
                values = _values_among(read, read.users[reading], similarity, sides, torch.from_numpy(rows))
                for row, of_row in values.items():
                    layers[row, size, number].append(of_row)
    return {
        (metric.name, size): [
            (rows, [torch.stack(layers[row, size, number]).numpy() for row in metric.rows])
            for number, rows in enumerate(subsets)
        ]
        for size, subsets in drawn.items()
        for metric in read.metrics
    }


def _values_among(
    read: PooledStates, users: Users, similarity: Tensor, sides: tuple[Tensor, Tensor], rows: Tensor
) -> dict[str, Tensor]:
    """Return row of a metric -> its values at one layer, of the sentences of one draw among themselves."""
    among, found = similarity[rows][:, rows], {}
    for row, over, compute in users:
        if not row.endswith(NULL):
            given = (among,) if over == "similarity" else tuple(side[rows] for side in sides)
            found[row] = compute_values(row, compute, given, read.scales[row], len(rows)).double()
    return found


def _scored(
    read: PooledStates, metric: str, rows: np.ndarray, parts: list[np.ndarray], bitext: Bitext, seed: int
) -> tuple[float, tuple[float, float]]:
    """Return the score of a draw, and its interval."""
    scale = next(one.scale for one in read.metrics if one.name == metric)
    documents = documents_of(None if bitext.documents is None else bitext.rows(rows.tolist()).documents)
    ends = interval_of(parts, "mean", scale, seed=seed, documents=documents)
    return score_of(parts, "mean", scale), ends
