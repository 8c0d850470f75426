"""Welch's test against scipy, the division test against enumeration, and both on known figures."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_ind

from xalign.errors import ArgumentError
from xalign.statistics.partitions import division_test, partition_test
from xalign.statistics.welch import welch_test


@pytest.mark.parametrize("seed", range(4))
def test_welch_against_scipy(seed):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(1, 2, 7), draw.normal(0, 0.5, 12)
    found = welch_test(x.tolist(), y.tolist())
    other = ttest_ind(x, y, equal_var=False)
    assert (found.t, found.degrees) == (pytest.approx(other.statistic), pytest.approx(other.df))
    assert found.p_value == pytest.approx(other.pvalue)
    assert found.interval == pytest.approx(tuple(other.confidence_interval()))
    assert found.difference == pytest.approx(x.mean() - y.mean())
    turned = welch_test(y.tolist(), x.tolist())
    assert (turned.t, turned.p_value) == (pytest.approx(-found.t), pytest.approx(found.p_value))


@pytest.mark.parametrize("sizes", [(3, 5), (5, 3), (1, 6), (4, 4)])
def test_divisions_against_enumeration(sizes):
    draw = np.random.default_rng(sum(sizes))
    x, y = draw.normal(0.5, 1, sizes[0]).round(1), draw.normal(0, 1, sizes[1]).round(1)
    both, reached = np.concatenate([x, y]), []
    for rows in combinations(range(len(both)), len(x)):
        rest = np.delete(both, rows)
        reached.append(both[list(rows)].mean() - rest.mean() >= x.mean() - y.mean() - 1e-9)
    found = division_test(x.tolist(), y.tolist())
    assert (found.p_value, found.partitions, found.is_exact) == (np.mean(reached), len(reached), True)
    if len(x) == len(y):
        assert found == partition_test(x.tolist(), y.tolist())


def test_drawn_divisions_are_near_scipy():
    draw = np.random.default_rng(0)
    x, y = draw.normal(0.6, 1, 20), draw.normal(0, 1, 30)
    found = division_test(x.tolist(), y.tolist(), most=20_000)

    def difference(one, other, axis):
        return one.mean(axis=axis) - other.mean(axis=axis)

    other = permutation_test((x, y), difference, alternative="greater", n_resamples=20_000, rng=1)
    assert not found.is_exact
    assert found.p_value == pytest.approx(other.pvalue, abs=0.006)
    assert found == division_test(x.tolist(), y.tolist(), most=20_000)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([1.0], [1.0, 2.0], "needs 2 of each"),
        ([1.0, float("nan")], [1.0, 2.0], "NaN or infinity"),
        ([1.0, 1.0], [2.0, 2.0], "needs a spread"),
    ],
)
def test_welch_refuses(x, y, said):
    with pytest.raises(ArgumentError, match=said):
        welch_test(x, y)


def test_divisions_refuse():
    with pytest.raises(ArgumentError, match="at least one value"):
        division_test([], [1.0])
    with pytest.raises(ArgumentError, match="NaN"):
        division_test([float("inf")], [1.0])
