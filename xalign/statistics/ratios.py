"""Intervals of ratios of sums over sentences, and of their paired differences."""

import numpy as np
from jaxtyping import Float

from xalign.errors import ArgumentError
from xalign.statistics.intervals import RESAMPLES, Interval

_CHUNK = 200  # resamples at a time


def ratio_interval(
    part: Float[np.ndarray, " pair"],
    whole: Float[np.ndarray, " pair"],
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the percentile bootstrap interval over sentences of sum(part) / sum(whole).

    Args:
        part: Per sentence, what is counted.
        whole: Per sentence, what it is a share of; above 0.
        seed: The same seed gives the same interval.
        level: The nominal coverage.
        resamples: Number of bootstrap samples.

    Raises:
        ArgumentError: Fewer than 2 sentences, sides of unequal length, or a whole that is not above 0.

    Example:
        >>> low, high = ratio_interval(np.array([1.0, 3.0] * 20), np.array([2.0, 4.0] * 20))
        >>> low < 2 / 3 < high
        True
    """
    return _ends(_ratios(part, whole, seed, resamples), level)


def ratio_difference_interval(
    first: tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]],
    second: tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]],
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the interval of the difference of two ratios on the same sentences, first − second.

    Both are computed on the same resamples. The other arguments and errors are those of `ratio_interval`.

    Args:
        first: Part and whole of each sentence.
        second: The same of the other ratio; row i is the same sentence.
        seed: The same seed gives the same interval.
        level: The nominal coverage.
        resamples: Number of bootstrap samples.

    Raises:
        ArgumentError: As of `ratio_interval`, or different numbers of sentences.

    Example:
        >>> one, other = (np.array([1.0, 2.0]), np.ones(2)), (np.array([0.5, 1.5]), np.ones(2))
        >>> ratio_difference_interval(one, other)
        (0.5, 0.5)
    """
    if len(first[0]) != len(second[0]):
        raise ArgumentError(
            f"first has {len(first[0])} sentences and second {len(second[0])}; both must be the same ones"
        )
    found = _ratios(*first, seed, resamples) - _ratios(*second, seed, resamples)
    return _ends(found, level)


def _ratios(
    part: Float[np.ndarray, " pair"], whole: Float[np.ndarray, " pair"], seed: int, resamples: int
) -> Float[np.ndarray, " resample"]:
    n = len(part)
    if n < 2 or len(whole) != n or not (np.asarray(whole) > 0).all():  # noqa: PLR2004
        raise ArgumentError(
            f"part has {n} entries and whole {len(whole)}; an interval needs as many of both, at least 2, "
            "and every whole above 0"
        )
    generator, found = np.random.default_rng(seed), []
    for start in range(0, resamples, _CHUNK):
        rows = generator.integers(n, size=(min(_CHUNK, resamples - start), n))
        found.append(part[rows].sum(axis=1) / whole[rows].sum(axis=1))
    ratios: Float[np.ndarray, " resample"] = np.concatenate(found)
    return ratios


def _ends(ratios: Float[np.ndarray, " resample"], level: float) -> Interval:
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
