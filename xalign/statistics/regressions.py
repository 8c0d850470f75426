"""Which languages fell along a run: a test that may look after every measurement."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float

WINDOWS = (1, 3)
ROUNDING = 1e-9
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Regression:
    """A language that scores less than it did.

    Attributes:
        best: Its score where it was best, a mean over `window` measurements.
        best_at: Which measurement that was, from 0; of a window the last.
        now: Its score over the last `window` measurements.
        window: How many measurements were averaged on each side.
        p: The chance of any such alarm, for any language at any time of the run, had nothing changed.

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
    series: Mapping[K, Float[np.ndarray, "measurement pair"]], *, level: float = 0.05
) -> dict[K, Regression]:
    """The languages whose last measurement lies significantly below their best so far.

    The last measurement, and the mean of the last three, are compared with the best earlier one, and the
    best mean of three, paired over sentences. Had nothing changed, a sentence's values at two times could as
    well be swapped, and then a sum s of differences d comes about with probability exp(−s² / 2Σd²) at most.
    Because the best is chosen from many, the series too, and one looks again and again, this is multiplied
    by the number of earlier times, of series and of windows, and by π²(t−1)²/6 at the t-th measurement;
    the inverses of those last add up to 1 over a run of any length.

    Args:
        series: Language, or metric and language -> each sentence's score at each measurement, the last last.
        level: The chance of any false alarm in the whole run.

    Returns:
        Its key -> the fall, for those whose p is at most `level`, over the shorter window that suffices.

    Reference:
        Hoeffding (1963), theorem 2, for the bound under random signs; Bonferroni for the rest.

    Example:
        >>> good, bad = np.full((5, 100), 0.9), np.full((1, 100), 0.4)
        >>> list(find_regressions({"deu_Latn": np.concatenate([good, bad]), "rus_Cyrl": np.full((6, 100), 0.5)}))
        ['deu_Latn']
        >>> find_regressions({"deu_Latn": good})
        {}
    """
    found: dict[K, Regression] = {}
    for key, values in series.items():
        t = len(values)
        times = len(series) * len(WINDOWS) * math.pi**2 * (t - 1) ** 2 / 6
        tested = [_fall(values, window) for window in WINDOWS if t >= 2 * window]
        significant = [fall for fall in tested if fall.p * times <= level]
        if significant:
            found[key] = replace(significant[0], p=significant[0].p * times)
    return found


def _fall(values: Float[np.ndarray, "measurement pair"], window: int) -> Regression:
    """The last mean over a window against the best that shares no measurement with it."""
    means = np.lib.stride_tricks.sliding_window_view(values, window, axis=0).mean(axis=-1)
    now, earlier = means[-1], means[: len(means) - window]
    best = int(earlier.mean(axis=1).argmax())
    differences = earlier[best] - now
    # Equal scores, added up in another order, would fall otherwise.
    differences[np.abs(differences) < ROUNDING] = 0.0
    total, squares = float(differences.sum()), float((differences**2).sum())
    chance = math.exp(-(total**2) / (2 * squares)) if total > 0 else 1.0
    return Regression(
        best=float(earlier[best].mean()),
        best_at=best + window - 1,
        now=float(now.mean()),
        window=window,
        p=min(1.0, chance * len(earlier)),
    )
