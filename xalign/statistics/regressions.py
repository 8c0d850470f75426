"""Which languages regressed along a run: a test that may be repeated after every measurement."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from xalign.statistics.documents import Documents

WINDOWS = (1, 3)
ROUNDING = 1e-9
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Regression:
    """A language that scores significantly less than at its best.

    Attributes:
        best: Its best score so far, a mean over `window` measurements.
        best_at: The index of that measurement, counted from 0; for a window, the index of its last one.
        now: Its score over the last `window` measurements.
        window: How many measurements are averaged on each side.
        p: The probability of any such alarm, for any language and at any time of the run, if nothing changes.

    Example:
        >>> Regression(best=0.6, best_at=3, now=0.4, window=1, p=0.001).now
        0.4
    """

    best: float
    best_at: int
    now: float
    window: int
    p: float


def find_regressions(
    series: Mapping[K, Float[np.ndarray, "measurement pair"]],
    *,
    level: float = 0.05,
    documents: Mapping[K, Documents | None] | None = None,
) -> dict[K, Regression]:
    """Return the languages whose last measurement is significantly worse than their best so far.

    The last measurement is compared with the best earlier one, and the mean of the last three with the best
    earlier mean of three, paired over sentences. If nothing changes, the values of a sentence at two times
    can be swapped, and a sum s of differences d is reached with a probability of at most exp(−s² / 2Σd²).
    Sentences of one document are swapped together: then each d is the sum of a document's differences.

    This bound is corrected for the number of tests. The best is chosen among the earlier times, the language
    among the series, and the window among two; and the test is repeated after every measurement. So the bound
    is multiplied by the number of earlier times, of series and of windows, and by π²(t−1)²/6 at the t-th
    measurement. The inverses of these last factors add up to 1 over a run of any length.

    Args:
        series: Language, or metric and language -> the score of each sentence at each measurement, in order
            of time. Higher is better: pass negative values where lower is better.
        level: The probability of any false alarm in the whole run.
        documents: Key -> which sentences are from one document, where that is known.

    Returns:
        Key -> the regression, for each series whose p is at most `level`, over the shorter window that
        suffices.

    Reference:
        Hoeffding (1963), theorem 2, for the bound under random signs; Bonferroni for the rest.

    Example:
        >>> good, bad = np.full((5, 100), 0.9), np.full((1, 100), 0.4)
        >>> series = {"deu_Latn": np.concatenate([good, bad]), "rus_Cyrl": np.full((6, 100), 0.5)}
        >>> list(find_regressions(series))
        ['deu_Latn']
        >>> find_regressions({"deu_Latn": good})
        {}
    """
    found: dict[K, Regression] = {}
    for key, values in series.items():
        t = len(values)
        times = len(series) * len(WINDOWS) * math.pi**2 * (t - 1) ** 2 / 6
        together = (documents or {}).get(key)
        tested = [_against_best(values, window, together) for window in WINDOWS if t >= 2 * window]
        significant = [regression for regression in tested if regression.p * times <= level]
        if significant:
            found[key] = replace(significant[0], p=significant[0].p * times)
    return found


def _against_best(
    values: Float[np.ndarray, "measurement pair"], window: int, documents: Documents | None
) -> Regression:
    """Compare the last mean over a window with the best one that shares no measurement with it."""
    means = np.lib.stride_tricks.sliding_window_view(values, window, axis=0).mean(axis=-1)
    now, earlier = means[-1], means[: len(means) - window]
    best = int(earlier.mean(axis=1).argmax())
    differences = earlier[best] - now
    # Equal scores that were summed in another order differ by rounding.
    differences[np.abs(differences) < ROUNDING] = 0.0
    swapped = differences if documents is None else documents.sums(differences)
    total, squares = float(swapped.sum()), float((swapped**2).sum())
    chance = math.exp(-(total**2) / (2 * squares)) if total > 0 else 1.0
    return Regression(
        best=float(earlier[best].mean()),
        best_at=best + window - 1,
        now=float(now.mean()),
        window=window,
        p=min(1.0, chance * len(earlier)),
    )
