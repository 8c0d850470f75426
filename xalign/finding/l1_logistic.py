"""Logistic regression with an L1 penalty, solved to convergence: most of its weights are exactly 0."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError

_ITERATIONS = 2000


def l1_logistic(
    features: Float[Tensor, "example feature"], is_positive: Bool[Tensor, " example"], *, c: float = 1.0
) -> tuple[Float[Tensor, " feature"], float]:
    """Fit the weights w and the intercept b that minimise Σ|w| + c · Σ log(1 + exp(−y (x·w + b))).

    The intercept is not penalised. The weights are the difference of two vectors that are not negative, which
    makes the problem smooth, with bounds.

    Args:
        features: A row per example, ideally with mean 0 and variance 1.
        is_positive: Which examples have y = 1; the others have −1.
        c: The weight of the data; the smaller, the fewer weights are not 0.

    Returns:
        The weights, float64, and the intercept.

    Raises:
        ArgumentError: `c` that is not above 0, or examples of one side only.

    Reference:
        scikit-learn's `LogisticRegression` has the same objective with `solver="saga"`.

    Example:
        >>> features = torch.tensor([[2.0, 0.1], [1.5, -0.1], [-2.0, 0.1], [-1.5, -0.1]])
        >>> weights, intercept = l1_logistic(features, torch.tensor([True, True, False, False]))
        >>> bool(weights[0] > 0.5), weights[1].item()
        (True, 0.0)
    """
    c = positive("c", c)
    count = int(is_positive.sum())
    if not 0 < count < len(is_positive):
        raise ArgumentError(
            f"{count} of {len(is_positive)} examples are positive; a probe takes some of either kind"
        )
    x = features.double().numpy()
    y = np.where(is_positive.numpy(), 1.0, -1.0)
    width = x.shape[1]

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        up, down, intercept = parameters[:width], parameters[width:-1], parameters[-1]
        margins = y * (x @ (up - down) + intercept)
        loss = np.logaddexp(0, -margins).sum()
        slope = -y / (1 + np.exp(np.clip(margins, -500, 500)))
        of_weights = c * (slope @ x)
        gradient = np.concatenate([1 + of_weights, 1 - of_weights, [c * slope.sum()]])
        return float(up.sum() + down.sum() + c * loss), gradient

    bounds = [(0.0, None)] * (2 * width) + [(None, None)]
    start = np.zeros(2 * width + 1)
    options = {"maxiter": _ITERATIONS, "maxfun": 4 * _ITERATIONS, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 20}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return torch.from_numpy(found[:width] - found[width:-1]), float(found[-1])
