"""Overlap of sets of units: counted over all sets, the published chance levels, what leaves it as it is."""

from itertools import combinations

import numpy as np
import pytest

from xalign.errors import ArgumentError
from xalign.metrics.unit_overlap import unit_overlap


@pytest.mark.parametrize(("k", "size", "width"), [(3, 3, 8), (2, 4, 7)])
def test_chance_and_p_are_counted_over_all_sets(k, size, width):
    one = set(range(k))
    others = [set(other) for other in combinations(range(width), size)]
    for two in others[::5]:
        found = unit_overlap(one, two, width)
        shared = len(one & two)
        assert found.shared == shared
        assert found.share == pytest.approx(2 * shared / (k + size))
        every = [2 * len(one & other) / (k + size) for other in others]
        assert found.chance == pytest.approx(np.mean(every))
        assert found.p == pytest.approx(np.mean([value >= found.share - 1e-12 for value in every]))


def test_the_published_chance_levels():
    """§4.4: .0488, .0326 and .0244 for 50 of the widths of BLOOM; §4.5: peaks of .171, .155 and .098."""
    half = list(range(50))
    published = {1024: (0.0488, 3.50, 0.171), 1536: (0.0326, 4.75, 0.155), 2048: (0.0244, 4.02, 0.098)}
    for width, (chance, times, peak) in published.items():
        found = unit_overlap(half, half, width)
        assert found.chance == pytest.approx(chance, abs=5e-5)  # printed with four decimals
        assert found.chance * times == pytest.approx(peak, abs=6e-4)  # with three
        assert found.share == 1 and found.times_chance == pytest.approx(width / 50)


def test_what_is_at_chance_has_no_small_p():
    """§4.5: .040 and .033, at which the paper's overlap drops, are 2 of 50 units and fewer than chance."""
    one, two = range(50), range(48, 98)
    found = unit_overlap(one, two, 1024)
    assert found.share == 0.04 and found.p > 0.5
    assert unit_overlap(one, range(41, 91), 1024).p < 0.001  # 9 of 50, the peak's .171


def test_what_leaves_it_as_it_is():
    found = unit_overlap([5, 1, 9], [9, 2, 5], 12)
    assert unit_overlap([9, 2, 5], [5, 1, 9], 12) == found
    assert unit_overlap([11, 7, 3], [3, 0, 11], 12) == found  # other names for the units


def test_the_edges():
    assert unit_overlap([0], [0], 1).p == 1
    assert unit_overlap([0], [1], 2) == unit_overlap([1], [0], 2)
    assert unit_overlap([0], [1], 2).p == 1
    for one, match in (([], "one holds 0 units"), ([1, 1], "each once"), ([8], "width=8 has 0 to 7")):
        with pytest.raises(ArgumentError, match=match):
            unit_overlap(one, [2], 8)
