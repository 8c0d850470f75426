"""The least-squares map: the figures of the reference, other implementations, and what is refused."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from xalign.errors import ArgumentError
from xalign.steering import least_squares_map


def normal(seed, *shape):
    return np.random.RandomState(seed).randn(*shape)


X = normal(40, 9, 4)
Y = X @ normal(41, 4, 4) + 0.1 * normal(42, 9, 4)
PRINTED = 1e-6  # figures with six decimals


def fitted(x, y, *args):
    return least_squares_map(torch.tensor(x), torch.tensor(y), *args).numpy()


def test_the_figures_of_the_reference():
    """§7.9 of the specification."""
    found = fitted(X, Y)
    assert np.allclose(found[0], [-0.254765, 0.122562, 0.201915, -0.967963], atol=PRINTED)
    assert np.linalg.norm(X @ found - Y) == pytest.approx(0.3875195102143663, rel=1e-9)
    h = normal(43, 4)
    assert np.allclose(h + 0.3 * h @ found, [0.340622, -0.496594, -0.076085, -0.91436], atol=PRINTED)
    between = h + 0.3 * (h @ found - h)
    assert np.allclose(between, [0.263402, -0.224049, 0.037466, -0.753885], atol=PRINTED)


def test_it_equals_numpy_and_maps_what_can_be_mapped():
    assert np.allclose(fitted(X, Y), np.linalg.lstsq(X, Y, rcond=None)[0], atol=1e-12)
    turn = normal(7, 4, 4)
    assert np.allclose(fitted(X, X @ turn), turn, atol=1e-12)
    order = [3, 1, 8, 0, 2, 7, 5, 6, 4]
    assert np.allclose(fitted(X[order], Y[order]), fitted(X, Y), atol=1e-12)


@pytest.mark.parametrize("n", [3, 4, 9], ids=["fewer pairs than coordinates", "as many", "more"])
def test_ridge_equals_scikit_learn(n):
    theirs = Ridge(alpha=0.7, fit_intercept=False).fit(X[:n], Y[:n]).coef_.T
    assert np.allclose(fitted(X[:n], Y[:n], 0.7), theirs, atol=1e-10)


def test_ridge_0_is_the_smallest_map_that_fits():
    """What the published code takes: 500 pairs, and a width of 4,096."""
    found = fitted(X[:3], Y[:3], 0.0)
    assert np.allclose(found, np.linalg.pinv(X[:3]) @ Y[:3], atol=1e-12)
    assert np.allclose(X[:3] @ found, Y[:3], atol=1e-12)
    assert np.allclose(fitted(X, Y, 0), fitted(X, Y), atol=1e-12)


def test_too_few_pairs_are_refused_with_how_many():
    with pytest.raises(
        ArgumentError, match=r"width 4 and there are 3 pair\(s\).* at least 4 .*, 1 more; or ridge="
    ):
        fitted(X[:3], Y[:3])
    same = np.concatenate([X[:2]] * 4)  # eight, of which two differ
    with pytest.raises(ArgumentError, match="8 pairs that span 2 dimensions only.* 2 more"):
        fitted(same, same)
    assert fitted(X[:4], Y[:4]).shape == (4, 4)


def test_what_else_is_refused():
    with pytest.raises(ArgumentError, match=r"shapes \(9, 4\) and \(8, 4\)"):
        fitted(X, Y[:8])
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        fitted(np.where(X > 1, np.nan, X), Y)
    with pytest.raises(ArgumentError, match="ridge=-1"):
        fitted(X, Y, -1.0)
