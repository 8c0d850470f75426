import numpy as np
import pytest
from scipy.stats import binomtest, t, ttest_1samp

from xalign.errors import ArgumentError
from xalign.statistics.intervals import (
    bootstrap_interval,
    largest_layer_interval,
    layer_interval,
    paired_p_value,
    seed_interval,
    share_interval,
    wilson_interval,
)


@pytest.mark.parametrize("n", [2, 10, 100])
def test_wilson_against_scipy(n):
    for hits in range(n + 1):
        expected = binomtest(hits, n).proportion_ci(method="wilson")
        assert wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    with pytest.raises(ArgumentError, match="hits=11"):
        wilson_interval(11, 10)


def test_bootstrap_against_the_normal_interval():
    values = np.random.default_rng(0).random(400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)
    with pytest.raises(ArgumentError, match="at least 2"):
        bootstrap_interval(np.array([1.0]))


def test_bootstrap_covers():
    """95 % intervals of a skewed mean cover it about as often as they say: 400 draws of 100."""
    generator = np.random.default_rng(0)
    covered = 0
    for draw in range(400):
        low, high = bootstrap_interval(generator.binomial(6, 0.1, size=100) / 6, seed=draw)
        covered += low <= 0.1 <= high
    assert 0.90 <= covered / 400 <= 0.99


@pytest.mark.parametrize("hits", [0, 1, 30, 99, 100])
def test_bits_are_shares_too(hits):
    bits = np.array([1.0] * hits + [0.0] * (100 - hits))
    assert share_interval(bits) == pytest.approx(wilson_interval(hits, 100), abs=1e-12)
    assert share_interval(bits.astype(bool)) == pytest.approx(wilson_interval(hits, 100), abs=1e-12)


def test_shares_of_some_variance_are_like_the_normal_interval():
    values = np.random.default_rng(0).random(2000)
    half = 1.96 * values.std() / 2000**0.5
    assert share_interval(values) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.02 * half
    )


@pytest.mark.parametrize(
    "values", [np.zeros(0), np.array([0.5, 1.1]), np.array([-0.1, 0.5]), np.array([np.nan])]
)
def test_what_is_not_a_share(values):
    with pytest.raises(ArgumentError, match=r"values must be at least one number, all of them in \[0, 1\]"):
        share_interval(values)


def test_seeds():
    runs = [0.41, 0.52, 0.6, 0.33]
    expected = t.interval(0.95, 3, loc=np.mean(runs), scale=np.std(runs, ddof=1) / 2)
    assert seed_interval(runs) == pytest.approx(expected, abs=1e-12)
    assert seed_interval([0.5, 0.5]) == (0.5, 0.5)  # not NaN
    with pytest.raises(ArgumentError, match="values has 1 entry"):
        seed_interval([0.5])


def test_layers():
    bits = np.array([True] * 30 + [False] * 70)
    assert layer_interval(bits) == wilson_interval(30, 100)
    values = np.linspace(-1, 1, 100)
    assert layer_interval(values) == bootstrap_interval(values)


def test_largest_layer():
    generator = np.random.default_rng(0)
    clear = np.stack([generator.random(200) < share for share in (0.1, 0.8, 0.2)]).astype(float)
    assert largest_layer_interval([clear]) == pytest.approx(bootstrap_interval(clear[1]))
    equal = np.stack([generator.random(200) < 0.5 for _ in range(20)]).astype(float)
    assert (
        largest_layer_interval([equal])[0] > 0.5
    )  # the largest of twenty is too large: the docstring says so
    assert largest_layer_interval([clear, clear]) == pytest.approx(largest_layer_interval([clear]))


def test_p_values():
    generator = np.random.default_rng(0)
    for shift in (0.0, 0.1, 0.2, 0.3):
        differences = generator.normal(shift, 1, size=100)
        assert paired_p_value(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.03)
    assert paired_p_value(np.zeros(50)) == 1.0
    assert paired_p_value(np.ones(50)) == pytest.approx(1 / 2001)
    assert paired_p_value(np.ones(2)) > 0.3  # two sentences prove nothing
    assert paired_p_value(-differences) == pytest.approx(paired_p_value(differences))


def test_p_values_are_uniform_without_an_effect():
    generator = np.random.default_rng(1)
    p = [paired_p_value(generator.choice([-1.0, 0.0, 1.0], size=60), seed=draw) for draw in range(500)]
    assert np.mean(np.array(p) <= 0.05) <= 0.08
