"""Aggregators: the numbers of steering-vectors and repeng, and a user's own."""

import numpy as np
import pytest
import torch
from numpy.random import RandomState
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.finding.aggregators import AGGREGATORS, Aggregator, resolve_aggregator
from xalign.model.operators import OPERATORS

POSITIVE = torch.from_numpy(RandomState(10).randn(7, 5) + 0.3)
NEGATIVE = torch.from_numpy(RandomState(11).randn(7, 5) - 0.3)
STATE = torch.from_numpy(RandomState(12).randn(5))
PRINTED = {
    "mean": [0.675484, 0.525585, 0.248206, 1.294001, 1.394101],
    "pca": [0.487999, 0.372575, 0.063569, 0.529376, 0.582035],
    "pca_diff": [0.902848, 0.28411, 0.183265, -0.213498, 0.158048],
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_numbers(name):
    """Six decimals are printed, so 1e-6."""
    found = AGGREGATORS[name](POSITIVE, NEGATIVE)
    assert found.numpy() == pytest.approx(PRINTED[name], abs=1e-6)


def logistic_by_scikit_learn(tolerance):
    middle = (POSITIVE + NEGATIVE) / 2
    x = torch.cat([POSITIVE - middle, NEGATIVE - middle]).numpy()
    model = LogisticRegression(fit_intercept=False, tol=tolerance, max_iter=10_000)
    weights = model.fit(x, np.repeat([1, 0], 7)).coef_[0]
    return weights / np.linalg.norm(weights)


def test_logistic_is_the_solution_that_scikit_learn_stops_short_of():
    """steering-vectors prints what scikit-learn has at its default tolerance: .0002 from the solution."""
    printed = [0.169303, 0.111269, 0.142924, 0.645563, 0.722342]
    assert logistic_by_scikit_learn(1e-4) == pytest.approx(printed, abs=1e-6)
    found = AGGREGATORS["logistic"](POSITIVE, NEGATIVE).numpy()
    assert found == pytest.approx(logistic_by_scikit_learn(1e-12), abs=1e-6)
    assert found == pytest.approx(printed, abs=3e-4)


def test_the_operators_on_the_mean():
    """Operators compute in float32, so 1e-6 of values up to 2.5."""
    vector = AGGREGATORS["mean"](POSITIVE, NEGATIVE).float()
    values = STATE.float().reshape(1, 1, 5)
    ablated = OPERATORS["project"].fn(values, vector).flatten()
    assert ablated.numpy() == pytest.approx([0.645876, -0.546902, 0.305968, -1.369536, 1.109964], abs=2e-6)
    added = OPERATORS["project_add"].fn(values, vector).flatten()
    assert added.numpy() == pytest.approx([1.32136, -0.021318, 0.554173, -0.075535, 2.504065], abs=2e-6)


def test_principal_directions_by_scikit_learn():
    differences = (POSITIVE - NEGATIVE).numpy()
    centred = PCA(1).fit(differences).components_[0]
    found = AGGREGATORS["pca_diff"](POSITIVE, NEGATIVE).numpy()
    assert abs(found @ centred) == pytest.approx(1, abs=1e-9)
    both_signs = (
        PCA(1).fit(np.concatenate([differences, -differences]) / 2).components_[0]
    )  # repeng's pca_center
    found = AGGREGATORS["pca"](POSITIVE, NEGATIVE).numpy()
    assert abs(found @ both_signs) == pytest.approx(1, abs=1e-9)
    assert found @ differences.mean(0) > 0


def test_what_does_not_change_them():
    order = torch.tensor([3, 6, 0, 5, 1, 2, 4])
    for name, aggregator in AGGREGATORS.items():
        found = aggregator(POSITIVE, NEGATIVE)
        assert torch.allclose(aggregator(POSITIVE[order], NEGATIVE[order]), found, atol=1e-8), name
        assert torch.allclose(aggregator(NEGATIVE, POSITIVE), -found, atol=1e-8), name
        assert (abs(found.norm() - 1) < 1e-9) == aggregator.is_unit, name
        shifted = aggregator(POSITIVE + 3, NEGATIVE + 3)
        assert torch.allclose(shifted, found, atol=1e-6), name


def test_sides_of_different_length():
    fewer = NEGATIVE[:4]
    mean = AGGREGATORS["mean"](POSITIVE, fewer)
    assert torch.allclose(mean, POSITIVE.mean(0) - fewer.mean(0))
    center = (POSITIVE.mean(0) + fewer.mean(0)) / 2
    x = torch.cat([POSITIVE - center, fewer - center]).numpy()
    theirs = (
        LogisticRegression(fit_intercept=False, tol=1e-12, max_iter=10_000).fit(x, [1] * 7 + [0] * 4).coef_[0]
    )
    found = AGGREGATORS["logistic"](POSITIVE, fewer).numpy()
    assert found == pytest.approx(theirs / np.linalg.norm(theirs), abs=1e-6)
    for name in ("pca", "pca_diff"):
        with pytest.raises(
            ArgumentError, match=f"aggregate='{name}' takes pairs, and the sides have 7 and 4 rows"
        ):
            AGGREGATORS[name](POSITIVE, fewer)


def test_ones_own():
    def first(positive, negative):
        return positive[0] - negative[0]

    mine = resolve_aggregator(first, AGGREGATORS)
    assert mine.name == "first"
    assert torch.equal(mine(POSITIVE, NEGATIVE), POSITIVE[0] - NEGATIVE[0])
    assert resolve_aggregator(mine, AGGREGATORS) is mine
    assert resolve_aggregator("pca", AGGREGATORS) is AGGREGATORS["pca"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: resolve_aggregator("median", AGGREGATORS),
            ArgumentError,
            "aggregate='median' must be one of mean",
        ),
        (lambda: resolve_aggregator(3, AGGREGATORS), ArgumentError, "aggregate=3 must be one of mean"),
        (lambda: Aggregator("", max), ArgumentTypeError, "name='' must be text"),
        (lambda: Aggregator("mine", lambda one: one), ArgumentTypeError, "fn="),
        (
            lambda: Aggregator("mine", lambda a, b: a, needs_pairs=1),
            ArgumentTypeError,
            "needs_pairs=1 must be True",
        ),
        (
            lambda: Aggregator("mine", lambda positive, negative: positive)(POSITIVE, NEGATIVE),
            ArgumentError,
            r"aggregator 'mine' must return a direction \[5\]",
        ),
        (
            lambda: Aggregator("mine", lambda positive, negative: 1 / 0)(POSITIVE, NEGATIVE),
            ArgumentError,
            "aggregator 'mine' raised ZeroDivisionError",
        ),
        (lambda: AGGREGATORS["mean"](POSITIVE, NEGATIVE[:, :3]), ArgumentError, "of one width"),
        (lambda: AGGREGATORS["mean"](POSITIVE, POSITIVE), ModelError, "finds no direction"),
        (lambda: AGGREGATORS["logistic"](POSITIVE, POSITIVE), ModelError, "finds no direction"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
