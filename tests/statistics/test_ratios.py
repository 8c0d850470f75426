"""Ratios of sums: their bootstrap against one in loops, coverage, and what is refused."""

import numpy as np
import pytest

from xalign.errors import ArgumentError
from xalign.statistics.ratios import ratio_difference_interval, ratio_interval


def drawn(seed, n=60):
    draw = np.random.default_rng(seed)
    whole = draw.integers(5, 40, n).astype(float)
    return draw.binomial(whole.astype(int), 0.3).astype(float), whole


def test_against_loops():
    part, whole = drawn(0)
    draw = np.random.default_rng(1)
    rows = [draw.integers(60, size=60) for _ in range(4000)]
    ratios = [sum(part[i] for i in row) / sum(whole[i] for i in row) for row in rows]
    assert ratio_interval(part, whole) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.004)
    assert ratio_interval(part, whole, seed=3) == ratio_interval(part, whole, seed=3)


def test_it_covers():
    hits = sum(
        low < 0.3 < high for low, high in (ratio_interval(*drawn(seed), resamples=400) for seed in range(200))
    )
    assert 180 <= hits <= 199


def test_differences_are_paired():
    part, whole = drawn(0)
    low, high = ratio_difference_interval((part + 1, whole), (part, whole))
    alone = ratio_interval(part, whole)
    assert high - low < 0.5 * (alone[1] - alone[0])
    assert low < 60 / whole.sum() < high
    assert ratio_difference_interval((part, whole), (part, whole)) == (0, 0)


def test_bad_input():
    part, whole = drawn(0)
    for bad in ((part[:1], whole[:1]), (part, whole[1:]), (part, whole * 0)):
        with pytest.raises(ArgumentError, match="an interval needs as many of both"):
            ratio_interval(*bad)
    with pytest.raises(ArgumentError, match="the same ones"):
        ratio_difference_interval((part, whole), (part[1:], whole[1:]))
