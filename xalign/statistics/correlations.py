"""Correlations of points that share models and languages, with intervals that know it."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from xalign.errors import ArgumentError
from xalign.statistics.intervals import KnownInterval

Resample = Literal["both", "models", "languages"]
FEWEST = 4
"""Points of which a correlation is computed: three lie near a line too easily."""
_ROUNDING = 1e-12


def pearson(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float | None:
    """Return Pearson's correlation; None where either side is constant.

    Example:
        >>> round(pearson(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.0])), 4)
        0.9286
    """
    return _known(pearson_of_draws(x, y, _once(x)))


def spearman(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float | None:
    """Return Spearman's correlation, with mean ranks of equal values; None where either side is constant.

    Example:
        >>> round(spearman(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 9.0])), 4)
        1.0
    """
    return pearson(rankdata(x), rankdata(y))


def partial(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], z: Float[np.ndarray, " point"]
) -> float | None:
    """Return Pearson's correlation of what a straight line of a third quantity leaves of both.

    Args:
        x: One side.
        y: The other side.
        z: The third quantity, such as the logarithm of the data of each language.

    Returns:
        None where nothing is left of either side; where z is constant, the correlation itself.

    Example:
        >>> x, y = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0.0, 2.0, 1.0, 3.0])
        >>> round(partial(x, y, np.array([0.0, 1.0, 2.0, 3.0])), 4)
        -1.0
    """
    return _known(partial_of_draws(x, y, z, _once(x)))


def drawn_times(
    models: Sequence[str],
    languages: Sequence[str],
    *,
    resample: Resample = "both",
    draws: int = 2000,
    seed: int = 0,
) -> Int[np.ndarray, "draw point"] | None:
    """Draw models, languages or both with replacement, and return how often each point is drawn.

    Points of one model have much in common, and so have those of one language. So whole models are drawn, and
    whole languages, and a point counts as often as both were drawn together. What there is only one of is not
    drawn.

    Args:
        models: The model of each point.
        languages: Its language.
        resample: What is drawn.
        draws: How often.
        seed: Of the draws.

    Returns:
        None where there is only one of what is drawn.

    Raises:
        ArgumentError: An unknown way to resample.

    Reference:
        Owen (2007), The pigeonhole bootstrap.

    Example:
        >>> drawn_times("aab", "xyx", resample="models", draws=2).shape
        (2, 3)
    """
    if resample not in get_args(Resample):
        raise ArgumentError(f"resample={resample!r:.40} must be one of {', '.join(get_args(Resample))}")
    generator = np.random.default_rng(seed)
    times = np.ones((draws, len(models)), dtype=int)
    is_drawn = False
    for side, name in ((models, "models"), (languages, "languages")):
        places = {label: place for place, label in enumerate(sorted(set(side)))}
        if len(places) > 1 and resample in ("both", name):
            drawn = generator.integers(0, len(places), size=(draws, len(places)))
            counts = (drawn[:, :, None] == np.arange(len(places))).sum(axis=1)
            times *= counts[:, [places[label] for label in side]]
            is_drawn = True
    return times if is_drawn else None


def pearson_of_draws(
    x: Float[np.ndarray, "*draw point"],
    y: Float[np.ndarray, "*draw point"],
    times: Int[np.ndarray, "draw point"],
) -> Float[np.ndarray, " draw"]:
    """Return Pearson's correlation of each draw; NaN where a side is constant in it.

    Args:
        x: One side, of every point, or of every point in each draw.
        y: The other side.
        times: How often each point was drawn.
    """
    a, b = (_centred(side, times) for side in (x, y))
    squares = (times * a * a).sum(axis=1), (times * b * b).sum(axis=1)
    least = [_ROUNDING * times.sum(axis=1) * np.maximum(np.abs(side).max(), 1e-300) ** 2 for side in (x, y)]
    is_constant = (squares[0] <= least[0]) | (squares[1] <= least[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (times * a * b).sum(axis=1) / np.sqrt(squares[0] * squares[1])
    clipped: Float[np.ndarray, " draw"] = np.where(is_constant, np.nan, np.clip(found, -1, 1))
    return clipped


def spearman_of_draws(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], times: Int[np.ndarray, "draw point"]
) -> Float[np.ndarray, " draw"]:
    """Return Spearman's correlation of each draw, of ranks among what was drawn, ties at their mean."""
    return pearson_of_draws(_ranks(x, times), _ranks(y, times), times)


def partial_of_draws(
    x: Float[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    z: Float[np.ndarray, " point"],
    times: Int[np.ndarray, "draw point"],
) -> Float[np.ndarray, " draw"]:
    """Return the partial correlation of each draw; see `partial`."""
    xy, xz, yz = (pearson_of_draws(*sides, times) for sides in ((x, y), (x, z), (y, z)))
    left = (1 - xz**2) * (1 - yz**2)
    is_left = (1 - xz**2 > _ROUNDING) & (1 - yz**2 > _ROUNDING)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(is_left, np.clip((xy - xz * yz) / np.sqrt(left), -1, 1), np.nan)
    is_same = np.isnan(pearson_of_draws(z, z, times))  # z is constant: nothing is to be held fixed
    return np.where(is_same, xy, found)


def interval_of_draws(values: Float[np.ndarray, " draw"], *, level: float = 0.95) -> KnownInterval:
    """Return the percentile interval of a statistic's draws; None twice where fewer than half have a value.

    Example:
        >>> interval_of_draws(np.full(100, 0.5)), interval_of_draws(np.full(9, np.nan))
        ((0.5, 0.5), (None, None))
    """
    known = values[~np.isnan(values)]
    if len(known) < len(values) / 2:
        return None, None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _once(x: Float[np.ndarray, " point"]) -> Int[np.ndarray, "draw point"]:
    return np.ones((1, len(x)), dtype=int)


def _known(values: Float[np.ndarray, " draw"]) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def _centred(
    side: Float[np.ndarray, "*draw point"], times: Int[np.ndarray, "draw point"]
) -> Float[np.ndarray, "draw point"]:
    """Return a side less its mean in each draw."""
    mean = (times * side).sum(axis=1, keepdims=True) / np.maximum(times.sum(axis=1, keepdims=True), 1)
    centred: Float[np.ndarray, "draw point"] = side - mean
    return centred


def _ranks(
    side: Float[np.ndarray, " point"], times: Int[np.ndarray, "draw point"]
) -> Float[np.ndarray, "draw point"]:
    """Return the mean rank of each point's value among all that were drawn."""
    _, group = np.unique(side, return_inverse=True)
    members = (group[:, None] == np.arange(group.max() + 1)).astype(int)
    counts = times @ members
    ranks: Float[np.ndarray, "draw point"] = (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, group]
    return ranks
