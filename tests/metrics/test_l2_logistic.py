"""L2 logistic regression: scikit-learn's, where it begins, what leaves it as it is, and the edges."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from xalign.errors import ArgumentError
from xalign.metrics.l2_logistic import l2_logistic


def drawn(n, width, seed=0, shift=0.5):
    draw = np.random.RandomState(seed)
    bits = np.arange(n) % 3 == 0
    return draw.randn(n, width) + shift * bits[:, None], bits


@pytest.mark.parametrize(
    ("n", "width", "penalty"), [(60, 5, 1.0), (40, 60, 1.0), (80, 20, 0.01), (80, 20, 50.0)]
)
def test_it_is_that_of_scikit_learn(n, width, penalty):
    """To 1e-4 of the largest weight; scikit-learn stops at a gradient of 1e-10."""
    features, bits = drawn(n, width)
    weights, intercept = l2_logistic(features, bits, penalty=penalty)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=20_000).fit(features, bits)
    largest = np.abs(theirs.coef_).max()
    assert np.allclose(weights, theirs.coef_[0], atol=1e-4 * largest)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-4 * max(1, largest))


def test_examples_that_are_apart_have_finite_weights():
    features, bits = drawn(40, 3, shift=30.0)
    weights, _ = l2_logistic(features, bits, penalty=1e-6)
    assert np.isfinite(weights).all()
    assert ((features @ weights + _) > 0).tolist() == bits.tolist()


def test_where_it_begins_does_not_matter():
    features, bits = drawn(50, 8)
    weights, intercept = l2_logistic(features, bits)
    again, same = l2_logistic(features, bits, start=(100 * np.ones(8), -30.0))
    assert np.allclose(again, weights, atol=1e-6)
    assert same == pytest.approx(intercept, abs=1e-6)


def test_what_leaves_it_as_it_is():
    features, bits = drawn(50, 8)
    weights, intercept = l2_logistic(features, bits)
    order = np.random.RandomState(1).permutation(50)
    assert np.allclose(l2_logistic(features[order], bits[order])[0], weights, atol=1e-6)
    mirrored = l2_logistic(features, ~bits)
    assert np.allclose(mirrored[0], -weights, atol=1e-6)
    assert mirrored[1] == pytest.approx(-intercept, abs=1e-6)


def test_the_edges():
    features, bits = drawn(6, 2)
    constant = np.ones((6, 2))
    weights, intercept = l2_logistic(constant, bits)
    assert np.allclose(weights, 0, atol=1e-6)
    assert intercept == pytest.approx(np.log(2 / 4), abs=1e-5)
    with pytest.raises(ArgumentError, match="0 of 6 examples are positive"):
        l2_logistic(features, np.zeros(6, dtype=bool))
    with pytest.raises(ArgumentError, match="penalty=0.0 must be above 0"):
        l2_logistic(features, bits, penalty=0.0)
