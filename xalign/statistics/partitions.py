"""The permutation test of two sets: how often a random division of both is as uneven."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from xalign.checks import whole_number
from xalign.errors import ArgumentError

MOST = 100_000  # as many partitions as the published code of SEAT looks at
_CHUNK = 10_000  # draws at a time
_ROUNDING = 1e-12  # of the sum of absolute values: equal sums may differ by so much


@dataclass(frozen=True, slots=True)
class PartitionTest:
    """What a permutation test found.

    Attributes:
        p_value: The share of divisions that are at least as uneven as the one observed, which counts too.
        is_exact: Whether every division was looked at; otherwise they were drawn at random.
        partitions: How many were looked at.
    """

    p_value: float
    is_exact: bool
    partitions: int


def partition_test(
    x: Sequence[float], y: Sequence[float], *, seed: int = 0, most: int = MOST
) -> PartitionTest:
    """Test whether x is larger than y, against all ways to divide their values into two sets of equal size.

    p is the share of divisions in which the first set's sum is at least that of x. All are enumerated where
    there are no more than `most`; otherwise so many are drawn, of which the observed one is the first.

    Args:
        x: The values of one set.
        y: As many of the other.
        seed: Of the draws.
        most: The most divisions to look at. At random, the smallest p is 1 / most.

    Returns:
        The one-sided p-value, and how it was found.

    Raises:
        ArgumentError: Sets of different sizes or empty ones, or values that are not finite.

    Reference:
        Caliskan et al. (2017), supplement, counts larger sums only; May et al. (2019) count equal ones too,
        so that p is never 0. This is theirs.

    Example:
        >>> partition_test([4.0, 3.0], [2.0, 1.0])  # 4 + 3 is the largest of six sums
        PartitionTest(p_value=0.16666666666666666, is_exact=True, partitions=6)
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ArgumentError(
            f"x has shape {first.shape} and y {second.shape}; a division into two equal halves needs as many "
            "values on both sides, at least one"
        )
    return division_test(x, y, seed=seed, most=most)


def division_test(
    x: Sequence[float], y: Sequence[float], *, seed: int = 0, most: int = MOST
) -> PartitionTest:
    """Test whether the mean of x is larger than that of y, against all ways to divide their values so.

    It is `partition_test` for sets of any sizes; the other arguments are the same.

    Args:
        x: The values of one set.
        y: Those of the other.
        seed: Of the draws.
        most: The most divisions to look at.

    Returns:
        The one-sided p-value, and how it was found.

    Raises:
        ArgumentError: An empty set, or values that are not finite.

    Reference:
        Fisher (1935); Phipson and Smyth (2010) for counting the observed division.

    Example:
        >>> division_test([4.0], [2.0, 1.0, 3.0])
        PartitionTest(p_value=0.25, is_exact=True, partitions=4)
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if first.ndim != 1 or second.ndim != 1 or not len(first) or not len(second):
        raise ArgumentError(f"x has shape {first.shape} and y {second.shape}; both need at least one value")
    both = np.concatenate([first, second])
    if not np.isfinite(both).all():
        raise ArgumentError("x or y holds NaN or infinity")
    seed, most = whole_number("seed", seed), whole_number("most", most, least=2)
    is_exact = comb(len(both), len(first)) <= most
    sums = _every_sum(both, len(first)) if is_exact else _drawn_sums(both, len(first), most - 1, seed)
    reached = int((sums >= first.sum() - _ROUNDING * np.abs(both).sum()).sum())
    if is_exact:
        return PartitionTest(reached / len(sums), True, len(sums))
    return PartitionTest((reached + 1) / most, False, most)


def _every_sum(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the sums of all subsets of a size."""
    rows = np.array(list(combinations(range(len(values)), size)))
    sums: NDArray[np.float64] = values[rows].sum(axis=1)
    return sums


def _drawn_sums(values: NDArray[np.float64], size: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Return the sums of random subsets of a size."""
    generator, sums = np.random.default_rng(seed), []
    for start in range(0, draws, _CHUNK):
        rows = np.tile(values, (min(_CHUNK, draws - start), 1))
        sums.append(generator.permuted(rows, axis=1)[:, :size].sum(axis=1))
    return np.concatenate(sums)
