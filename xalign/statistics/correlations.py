"""Correlations of points that share models and languages, with intervals that know it."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from xalign.errors import ArgumentError
from xalign.statistics.intervals import KnownInterval

Resample = Literal["both", "models", "languages"]
Statistic = Callable[[np.ndarray, np.ndarray], float | None]
PartialStatistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float | None]
FEWEST = 4
"""Points of which a correlation is computed: three lie near a line too easily."""


def pearson(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float | None:
    """Return Pearson's correlation; None where either side is constant.

    Example:
        >>> round(pearson(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.0])), 4)
        0.9286
    """
    a, b = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    is_constant = spread <= 1e-12 * len(x) * max(float(np.abs(x).max() * np.abs(y).max()), 1e-300)
    return None if is_constant else float(np.clip(a @ b / spread, -1, 1))


def spearman(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float | None:
    """Return Spearman's correlation, with mean ranks of equal values; None where either side is constant.

    Example:
        >>> spearman(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 9.0]))
        1.0
    """
    return pearson(rankdata(x), rankdata(y))


def partial(control: Float[np.ndarray, " point"]) -> PartialStatistic:
    """Return Pearson's correlation of what a straight line of a third quantity leaves of both.

    Args:
        control: The third quantity of every point, such as the logarithm of the data of its language.

    Returns:
        A function of both sides and of the rows of `control` that they belong to.

    Example:
        >>> given = partial(np.array([0.0, 1.0, 2.0, 3.0]))
        >>> x, y = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0.0, 2.0, 1.0, 3.0])
        >>> round(given(x, y, np.arange(4)), 4)
        -0.7071
    """

    def of(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> float | None:
        z = control[rows] - control[rows].mean()
        square = float(z @ z)
        if square <= 1e-18 * len(z):
            return pearson(x, y)
        left = [side - side.mean() - z * float(z @ (side - side.mean())) / square for side in (x, y)]
        scale = [float(np.abs(side - side.mean()).max()) for side in (x, y)]
        if any(np.abs(rest).max() <= 1e-9 * size for rest, size in zip(left, scale, strict=True)):
            return None
        return pearson(*left)

    return of


def resampled_interval(
    of_rows: Callable[[np.ndarray], float | None],
    models: Sequence[str],
    languages: Sequence[str],
    *,
    resample: Resample = "both",
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> KnownInterval:
    """Return the percentile bootstrap interval of a statistic over models, languages, or both.

    Points of one model have much in common, and so have those of one language. So whole models are drawn with
    replacement, and whole languages, and a point counts as often as both were drawn together. What there is
    only one of is not drawn.

    Args:
        of_rows: From the drawn rows, repeated as often as they count, to the statistic; None where it has no
            value.
        models: The model of each point.
        languages: Its language.
        resample: What is drawn.
        draws: How often.
        seed: Of the draws.
        level: The nominal coverage.

    Returns:
        Both ends; None twice where there is only one of what is drawn, or fewer than half of the draws have a
        value.

    Raises:
        ArgumentError: An unknown way to resample.

    Reference:
        Owen (2007), The pigeonhole bootstrap.

    Example:
        >>> x = np.arange(6.0)
        >>> resampled_interval(lambda rows: float(x[rows].mean()), "aabbcc", "xyxyxy", resample="models")
        (0.5, 4.5)
    """
    if resample not in get_args(Resample):
        raise ArgumentError(f"resample={resample!r:.40} must be one of {', '.join(get_args(Resample))}")
    generator = np.random.default_rng(seed)
    drawn = []
    for side, name in ((models, "models"), (languages, "languages")):
        _, number = np.unique(np.array(side, dtype=object).astype(str), return_inverse=True)
        count = int(number.max()) + 1
        if count > 1 and resample in ("both", name):
            drawn.append((number, count))
    if not drawn:
        return None, None
    found = []
    for _ in range(draws):
        times = np.ones(len(models), dtype=int)
        for number, count in drawn:
            times *= np.bincount(generator.integers(0, count, size=count), minlength=count)[number]
        rows = np.repeat(np.arange(len(models)), times)
        value = of_rows(rows) if len(rows) > 1 else None
        if value is not None:
            found.append(value)
    if len(found) < draws / 2:
        return None, None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
