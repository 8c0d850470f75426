import numpy as np
import pytest
from scipy import stats

from xalign.errors import ArgumentError
from xalign.statistics.correlations import (
    drawn_times,
    interval_of_draws,
    partial,
    partial_of_draws,
    pearson,
    pearson_of_draws,
    spearman,
    spearman_of_draws,
)


@pytest.mark.parametrize("n", [4, 30])
def test_against_scipy(n):
    generator = np.random.default_rng(n)
    for _ in range(20):
        x, y = generator.normal(size=n), generator.integers(0, 3, size=n).astype(float)
        y[0] = 5.0  # never constant
        assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_units_and_direction():
    x, y = np.array([1.0, 4.0, 2.0, 8.0]), np.array([3.0, 1.0, 5.0, 9.0])
    assert pearson(1000 * x + 5, y / 7) == pytest.approx(pearson(x, y))
    assert pearson(-x, y) == pytest.approx(-pearson(x, y))
    assert spearman(np.exp(x), y) == pytest.approx(spearman(x, y))
    assert pearson(x, x) == 1.0
    assert pearson(x * 1e-9, y * 1e9) == pytest.approx(pearson(x, y))


@pytest.mark.parametrize("constant", [np.zeros(5), np.full(5, 0.1), np.full(5, 1e9)])
def test_a_constant_goes_with_nothing(constant):
    other = np.arange(5.0)
    assert pearson(constant, other) is None
    assert spearman(other, constant) is None


def residuals(side, z):
    """What numpy's least squares leaves of a side."""
    design = np.stack([np.ones(len(z)), z], axis=1)
    return side - design @ np.linalg.lstsq(design, side, rcond=None)[0]


def test_partial_against_least_squares():
    generator = np.random.default_rng(0)
    z = generator.normal(size=40)
    x, y = z + generator.normal(size=40), 2 * z + generator.normal(size=40)
    expected = stats.pearsonr(residuals(x, z), residuals(y, z)).statistic
    assert partial(x, y, z) == pytest.approx(expected, abs=1e-12)


def test_partial_where_nothing_is_left():
    z = np.arange(6.0)
    other = np.array([0.0, 2.0, 1.0, 5.0, 3.0, 4.0])
    assert partial(3 * z + 1, other, z) is None
    assert partial(z, other, np.ones(6)) == pytest.approx(pearson(z, other))


def test_each_draw_is_a_correlation_of_points_that_are_repeated():
    generator = np.random.default_rng(3)
    x, y, z = generator.normal(size=(3, 20))
    y = y.round()  # with ties
    times = generator.integers(0, 3, size=(30, 20))
    for draw, count in enumerate(times):
        rows = np.repeat(np.arange(20), count)
        for of_draws, expected in (
            (pearson_of_draws, stats.pearsonr(x[rows], y[rows]).statistic),
            (spearman_of_draws, stats.spearmanr(x[rows], y[rows]).statistic),
        ):
            assert of_draws(x, y, times)[draw] == pytest.approx(expected, abs=1e-12)
        left = (residuals(side[rows], z[rows]) for side in (x, y))
        found = partial_of_draws(x, y, z, times)[draw]
        assert found == pytest.approx(stats.pearsonr(*left).statistic, abs=1e-9)


def grid(models, languages, seed=0):
    generator = np.random.default_rng(seed)
    names = [(f"m{m}", f"l{k}") for m in range(models) for k in range(languages)]
    x = generator.normal(size=(models, languages)) + generator.normal(size=(models, 1))
    y = x + generator.normal(size=(models, languages)) + generator.normal(size=(1, languages))
    return x, y, [m for m, _ in names], [k for _, k in names]


def interval(x, y, models, languages, **options):
    return interval_of_draws(pearson_of_draws(x, y, drawn_times(models, languages, **options)))


@pytest.mark.parametrize("resample", ["models", "languages", "both"])
def test_against_a_bootstrap_that_draws_rows_and_columns(resample):
    x, y, models, languages = grid(12, 9)
    found = interval(x.ravel(), y.ravel(), models, languages, resample=resample, draws=4000)
    generator, values = np.random.default_rng(7), []
    for _ in range(2000):
        m = generator.integers(12, size=12) if resample != "languages" else np.arange(12)
        k = generator.integers(9, size=9) if resample != "models" else np.arange(9)
        values.append(np.corrcoef(x[np.ix_(m, k)].ravel(), y[np.ix_(m, k)].ravel())[0, 1])
    assert found == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.04)


def test_the_order_of_points_does_not_matter():
    x, y, models, languages = grid(5, 6)
    order = np.random.default_rng(1).permutation(30)
    sides = x.ravel()[order], y.ravel()[order]
    names = [models[row] for row in order], [languages[row] for row in order]
    assert interval(*sides, *names) == pytest.approx(
        interval(x.ravel(), y.ravel(), models, languages), abs=1e-12
    )


def test_it_covers_over_both_sides():
    """Models and languages have effects of their own: points alone are resampled too narrowly."""
    covered = dict.fromkeys(["both", "points"], 0)
    for draw in range(100):
        x, y, models, languages = grid(12, 10, seed=draw + 100)
        truth = 2 / np.sqrt(2 * 4)  # the covariance is 2, the variances are 2 and 4
        own = [str(place) for place in range(120)]
        for name, (m, k) in (("both", (models, languages)), ("points", (own, ["x"] * 120))):
            low, high = interval(x.ravel(), y.ravel(), m, k, draws=500)
            covered[name] += low <= truth <= high
    assert covered["both"] >= 85
    assert covered["points"] < covered["both"]


def test_what_there_is_one_of_is_not_drawn():
    x, y = np.arange(5.0), np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    one_model = interval(x, y, "aaaaa", "vwxyz")
    assert one_model == interval(x, y, "aaaaa", "vwxyz", resample="languages")
    assert drawn_times("aaaaa", "vwxyz", resample="models") is None
    assert interval_of_draws(np.full(10, np.nan)) == (None, None)
    with pytest.raises(ArgumentError, match="resample='points' must be one of"):
        drawn_times("aaaaa", "vwxyz", resample="points")
