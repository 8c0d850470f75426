"""95 % intervals of scores, and paired tests of their differences."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from scipy.stats import norm, t

from xalign.errors import ArgumentError
from xalign.statistics.documents import Documents
from xalign.statistics.wilson import Interval, KnownInterval, share_interval, wilson_interval

__all__ = [
    "Interval",
    "KnownInterval",
    "bootstrap_interval",
    "known_interval",
    "largest_layer_interval",
    "layer_interval",
    "paired_p_value",
    "seed_interval",
    "share_interval",
    "wilson_interval",
]

RESAMPLES = 2000


def bootstrap_interval(
    values: Float[np.ndarray, " pair"],
    *,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    documents: Documents | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of a mean over sentences.

    The values of sentences are resampled. Resampling the sentence pairs and scoring them again would be
    wrong: a repeated sentence ties with itself, and ties lose. Where it is known which sentences are from
    one document, whole documents are resampled, and the percentiles are taken further out, as there are few
    of them.

    Args:
        values: One value per sentence, such as its bit averaged over layers.
        seed: The same seed gives the same interval.
        level: The nominal coverage.
        resamples: Number of bootstrap samples.
        documents: Which sentences are from one document.

    Raises:
        ArgumentError: Fewer than 2 values.

    Reference:
        Field and Welsh (2007) for resampling clusters; Hesterberg (2015), §4.4.3, for percentiles that are
        expanded as Student's t interval is.

    Example:
        >>> low, high = bootstrap_interval(np.array([0.0, 1.0] * 50))
        >>> low < 0.5 < high
        True
    """
    means = _resampled_means(values, seed, resamples, documents)
    low, high = np.quantile(means, _percentiles(level, documents))
    return float(low), float(high)


def _percentiles(level: float, documents: Documents | None) -> tuple[float, float]:
    if documents is None:
        return (1 - level) / 2, (1 + level) / 2
    freedom = documents.count - 1
    outside = float(norm.cdf(-((documents.count / freedom) ** 0.5) * t.ppf((1 + level) / 2, freedom)))
    return outside, 1 - outside


def known_interval(low: float | None, high: float | None) -> KnownInterval:
    """Return an interval, or None twice where it has no width: equal values say nothing about their spread.

    Example:
        >>> known_interval(0.2, 0.4), known_interval(0.5, 0.5)
        ((0.2, 0.4), (None, None))
    """
    if low is None or high is None or high - low <= 1e-9 * max(abs(low), abs(high)):
        return None, None
    return low, high


def layer_interval(
    values: Shaped[np.ndarray, " pair"], *, seed: int = 0, documents: Documents | None = None
) -> Interval:
    """Return the 95 % interval of one layer's score: Wilson's for bits, a bootstrap for real values.

    Args:
        values: A boolean array of bits, or one real value per sentence. Zeros and ones as floats count as
            real values; for shares see `share_interval`.
        seed: The same seed gives the same interval.
        documents: Which sentences are from one document.

    Raises:
        ArgumentError: No bits, or fewer than 2 real values.

    Example:
        >>> [round(bound, 3) for bound in layer_interval(np.array([True, False] * 50))]
        [0.404, 0.596]
    """
    if values.dtype == bool and documents is None:
        return wilson_interval(int(values.sum()), len(values))
    if values.dtype == bool:
        return share_interval(values, documents=documents)
    return bootstrap_interval(values, seed=seed, documents=documents)


def largest_layer_interval(
    scores: Sequence[Float[np.ndarray, "layer pair"]],
    *,
    seed: int = 0,
    level: float = 0.95,
    documents: Documents | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of the largest layer's mean, averaged over several scores.

    The largest of several noisy means is too large on average, in the sample and in the resamples alike. The
    interval is therefore a range of values that would be reported, not of the true value.

    Args:
        scores: For each score (a language, a direction), one value per layer and sentence.
        seed: The same seed gives the same interval.
        level: The nominal coverage.
        documents: Which sentences are from one document.

    Example:
        >>> layers = np.array([[0.0, 0.0, 1.0, 0.0] * 9, [1.0, 1.0, 1.0, 0.0] * 9])
        >>> low, high = largest_layer_interval([layers])
        >>> low < 0.75 < high
        True
    """
    largest = []
    for values in scores:
        means = np.stack([_resampled_means(layer, seed, RESAMPLES, documents) for layer in values])
        largest.append(means.max(axis=0))
    low, high = np.quantile(np.mean(largest, axis=0), _percentiles(level, documents))
    return float(low), float(high)


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return Student's t interval of a mean over runs that differ only in their seed.

    Args:
        values: One number per seed, at least 2.
        level: The nominal coverage.

    Raises:
        ArgumentError: Fewer than 2 values.

    Example:
        >>> [round(bound, 3) for bound in seed_interval([0.4, 0.5, 0.6])]
        [0.252, 0.748]
    """
    if len(values) < 2:
        raise ArgumentError(f"values has {len(values)} entry; at least 2 are needed for an interval")
    mean, standard_error = np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5
    # Not t.interval(..., scale=standard_error), which is NaN where all values are equal.
    low, high = t.interval(level, len(values) - 1)
    return float(mean + low * standard_error), float(mean + high * standard_error)


def paired_p_value(
    differences: Float[np.ndarray, " pair"],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    documents: Documents | None = None,
) -> float:
    """Return the two-sided p-value of a mean difference of paired values, by flipping signs at random.

    Without an effect, the difference of each sentence has either sign with equal probability; of sentences
    that are from one document, the signs are flipped together. The observed mean counts as one of the draws,
    so the smallest p is 1 / (resamples + 1).

    Args:
        differences: One difference per sentence, after minus before.
        seed: The same seed gives the same p.
        resamples: Number of random sign patterns.
        documents: Which sentences are from one document.

    Reference:
        Fisher (1935), §21; Phipson and Smyth (2010) for counting the observed draw.

    Example:
        >>> paired_p_value(np.zeros(10))
        1.0
    """
    flipped = differences if documents is None else documents.sums(differences)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(resamples, len(flipped)))
    reached = np.abs(signs @ flipped) >= abs(differences.sum()) - 1e-9
    return float((1 + reached.sum()) / (1 + resamples))


def _resampled_means(
    values: Float[np.ndarray, " pair"], seed: int, resamples: int, documents: Documents | None
) -> NDArray[np.float64]:
    if len(values) < 2:
        raise ArgumentError(f"values has {len(values)} entry; at least 2 are needed for an interval")
    if documents is not None:
        drawn = _draws(documents.count, seed, resamples)
        sizes = documents.sizes[drawn].sum(axis=1)
        of_documents: NDArray[np.float64] = documents.sums(values)[drawn].sum(axis=1) / sizes
        return of_documents
    means: NDArray[np.float64] = values[_draws(len(values), seed, resamples)].mean(axis=1)
    return means


@lru_cache(maxsize=4)
def _draws(n: int, seed: int, resamples: int) -> Int[np.ndarray, "resample pair"]:
    """Return the resampled rows, drawn once for all layers and languages of a report."""
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n))
