"""Logistic regression with an L2 penalty, solved to convergence by Newton's method."""

import numpy as np
from jaxtyping import Bool, Float

from xalign.errors import ArgumentError

_ITERATIONS, _HALVINGS = 100, 40
_ENOUGH = 1e-4  # of what the slope promises (Armijo)
_SLOPE = 1e-6  # the largest gradient at which the solution counts as found
_LEAST_CURVATURE = 1e-10  # of the intercept, which no penalty holds


def l2_logistic(
    features: Float[np.ndarray, "example feature"],
    is_positive: Bool[np.ndarray, " example"],
    *,
    penalty: float = 1.0,
    start: tuple[Float[np.ndarray, " feature"], float] | None = None,
) -> tuple[Float[np.ndarray, " feature"], float]:
    """Fit the weights w and the intercept b that minimise Σ log(1 + exp(−y (x·w + b))) + penalty · ‖w‖² / 2.

    The intercept is not penalised.

    Args:
        features: A row per example, best of mean 0 and variance 1, float64.
        is_positive: Which examples have y = 1; the others have −1.
        penalty: Its weight; above 0.
        start: Weights and intercept to begin with, such as those of other examples, where their loss is less
            than that of zeros. The solution is the same.

    Returns:
        The weights and the intercept.

    Raises:
        ArgumentError: Examples of one side only, or a penalty that is not above 0.

    Reference:
        scikit-learn's `LogisticRegression` has the same objective with C = 1 / penalty.

    Example:
        >>> weights, intercept = l2_logistic(np.array([[2.0], [1.0], [-1.0]]), np.array([True, True, False]))
        >>> bool(weights[0] > 0), bool(intercept > 0)
        (True, True)
    """
    _check(is_positive, penalty)
    x = np.column_stack([features, np.ones(len(features))])
    signs = np.where(is_positive, 1.0, -1.0)
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 0.0
    starts = [np.zeros(x.shape[1])] + ([] if start is None else [np.append(*start)])
    value, weights = min(((_loss(x, signs, ridge, one), one) for one in starts), key=lambda one: one[0])
    for _ in range(_ITERATIONS):
        chance = _sigmoid(-signs * (x @ weights))  # of being wrong
        slope = ridge * weights - x.T @ (signs * chance)
        if np.abs(slope).max() < _SLOPE:
            break
        curvature = (x.T * (chance * (1 - chance))) @ x
        curvature[np.diag_indices_from(curvature)] += ridge
        curvature[-1, -1] += _LEAST_CURVATURE
        step = np.linalg.solve(curvature, slope)
        for _ in range(_HALVINGS):
            found = _loss(x, signs, ridge, weights - step)
            if found <= value - _ENOUGH * float(slope @ step):
                break
            step = step / 2
        weights, value = weights - step, found
    return weights[:-1], float(weights[-1])


def _check(is_positive: Bool[np.ndarray, " example"], penalty: float) -> None:
    count = int(is_positive.sum())
    if not 0 < count < len(is_positive):
        raise ArgumentError(
            f"{count} of {len(is_positive)} examples are positive; a probe takes some of either kind"
        )
    if not penalty > 0:
        raise ArgumentError(f"penalty={penalty} must be above 0, or no weights are best")


def _loss(x: np.ndarray, signs: np.ndarray, ridge: np.ndarray, weights: np.ndarray) -> float:
    return float(np.logaddexp(0, -signs * (x @ weights)).sum() + (ridge * weights**2).sum() / 2)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.exp(-np.logaddexp(0, -values))
    return found
