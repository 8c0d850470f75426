import numpy as np
import pytest
from scipy import stats

from xalign.errors import ArgumentError
from xalign.statistics.correlations import partial, pearson, resampled_interval, spearman


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


def test_partial_against_the_formula_of_three_correlations():
    generator = np.random.default_rng(0)
    z = generator.normal(size=40)
    x, y = z + generator.normal(size=40), 2 * z + generator.normal(size=40)
    xy, xz, yz = pearson(x, y), pearson(x, z), pearson(y, z)
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial(z)(x, y, np.arange(40)) == pytest.approx(expected, abs=1e-12)
    rows = np.repeat(np.arange(40), np.arange(40) % 3)
    xy, xz, yz = pearson(x[rows], y[rows]), pearson(x[rows], z[rows]), pearson(y[rows], z[rows])
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial(z)(x[rows], y[rows], rows) == pytest.approx(expected, abs=1e-12)


def test_partial_where_nothing_is_left():
    z = np.arange(6.0)
    other = np.array([0.0, 2.0, 1.0, 5.0, 3.0, 4.0])
    assert partial(z)(3 * z + 1, other, np.arange(6)) is None
    assert partial(np.ones(6))(z, other, np.arange(6)) == pytest.approx(pearson(z, other))


def grid(models, languages, seed=0):
    generator = np.random.default_rng(seed)
    names = [(f"m{m}", f"l{k}") for m in range(models) for k in range(languages)]
    x = generator.normal(size=(models, languages)) + generator.normal(size=(models, 1))
    y = x + generator.normal(size=(models, languages)) + generator.normal(size=(1, languages))
    return x, y, [m for m, _ in names], [k for _, k in names]


@pytest.mark.parametrize("resample", ["models", "languages", "both"])
def test_against_a_bootstrap_that_draws_rows_and_columns(resample):
    x, y, models, languages = grid(12, 9)
    flat = (x.ravel(), y.ravel())
    found = resampled_interval(
        lambda rows: pearson(flat[0][rows], flat[1][rows]), models, languages, resample=resample, draws=4000
    )
    generator, values = np.random.default_rng(7), []
    for _ in range(4000):
        m = generator.integers(12, size=12) if resample != "languages" else np.arange(12)
        k = generator.integers(9, size=9) if resample != "models" else np.arange(9)
        values.append(stats.pearsonr(x[np.ix_(m, k)].ravel(), y[np.ix_(m, k)].ravel()).statistic)
    assert found == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03)


def test_the_order_of_points_does_not_matter():
    x, y, models, languages = grid(5, 6)
    order = np.random.default_rng(1).permutation(30)

    def interval(rows_of):
        a, b = x.ravel()[rows_of], y.ravel()[rows_of]
        return resampled_interval(
            lambda rows: pearson(a[rows], b[rows]),
            [models[row] for row in rows_of],
            [languages[row] for row in rows_of],
        )

    assert interval(order) == pytest.approx(interval(np.arange(30)), abs=1e-12)


def test_it_covers_over_both_sides():
    """Models and languages have effects of their own: points alone are resampled too narrowly."""
    covered = dict.fromkeys(["both", "points"], 0)
    for draw in range(60):
        x, y, models, languages = grid(12, 10, seed=draw + 100)
        a, b = x.ravel(), y.ravel()
        truth = 2 / np.sqrt(2 * 4)  # the covariance is 2, the variances are 2 and 4
        own = [str(place) for place in range(120)]
        for name, (m, k) in (("both", (models, languages)), ("points", (own, languages))):
            low, high = resampled_interval(
                lambda rows, a=a, b=b: pearson(a[rows], b[rows]),
                *(m, k),
                resample="both" if name == "both" else "models",
                draws=300,
            )
            covered[name] += low <= truth <= high
    assert covered["both"] >= 0.85 * 60
    assert covered["points"] < covered["both"]


def test_what_there_is_one_of_is_not_drawn():
    x = np.arange(5.0)

    def mean(rows):
        return float(x[rows].mean())

    one_model = resampled_interval(mean, "aaaaa", "vwxyz")
    assert one_model == resampled_interval(mean, "aaaaa", "vwxyz", resample="languages")
    assert resampled_interval(mean, "aaaaa", "vwxyz", resample="models") == (None, None)
    assert resampled_interval(lambda _: None, "aabbc", "vwxyz") == (None, None)
    with pytest.raises(ArgumentError, match="resample='points' must be one of"):
        resampled_interval(mean, "aaaaa", "vwxyz", resample="points")
