"""The permutation test of two sets: every division by hand, random ones against all, and the edges."""

from itertools import permutations

import numpy as np
import pytest

from xalign.errors import ArgumentError
from xalign.statistics.partitions import partition_test


def by_orders(x, y):
    """From all orders of the values: each division occurs equally often."""
    sums = [sum(order[: len(x)]) for order in permutations([*x, *y])]
    return np.mean([total >= sum(x) - 1e-9 for total in sums])


def test_tiny_cases_by_hand():
    # sums of two of 1 2 3 4: 7 6 5 5 4 3
    assert partition_test([3, 4], [1, 2]).p_value == 1 / 6
    assert partition_test([1, 4], [2, 3]).p_value == 4 / 6
    assert partition_test([1, 2], [3, 4]).p_value == 1
    assert partition_test([5.0], [5.0]).p_value == 1  # a tie counts


@pytest.mark.parametrize("seed", range(4))
def test_every_division_counts_once(seed):
    random = np.random.RandomState(seed)
    x, y = random.randint(0, 5, 4), random.randint(0, 5, 4)  # with many ties
    found = partition_test(x, y)
    assert found.p_value == pytest.approx(by_orders(x, y), abs=1e-12)
    assert (found.is_exact, found.partitions) == (True, 70)


def test_ties_of_rounded_sums_count():
    assert partition_test([0.3, 0.1], [0.1, 0.2 + 1e-17]).p_value == by_orders([0.3, 0.1], [0.1, 0.2])


def test_random_divisions_come_near_all_of_them():
    random = np.random.RandomState(7)
    x, y = random.randn(8) + 0.6, random.randn(8)
    exact = partition_test(x, y)
    drawn = partition_test(x, y, most=5000)
    assert exact.is_exact and not drawn.is_exact and drawn.partitions == 5000
    assert 0.01 < exact.p_value < 0.5
    assert drawn.p_value == pytest.approx(exact.p_value, abs=4 * np.sqrt(exact.p_value / 5000))
    assert partition_test(x, y, most=5000) == drawn
    assert partition_test(x, y, most=5000, seed=1) != drawn


def test_the_smallest_p_of_random_divisions():
    assert partition_test(range(20, 40), range(20), most=50).p_value == 1 / 50


def test_what_is_refused():
    with pytest.raises(ArgumentError, match=r"x has shape \(2,\) and y \(3,\)"):
        partition_test([1, 2], [1, 2, 3])
    with pytest.raises(ArgumentError, match="at least one"):
        partition_test([], [])
    with pytest.raises(ArgumentError, match="NaN"):
        partition_test([1, np.nan], [1, 2])
    with pytest.raises(ArgumentError, match="most=1 must be at least 2"):
        partition_test([1], [2], most=1)
