"""The distance of two clouds of states: how differently they spread, and how far apart their means lie."""

import math

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError


def subspace_distance(
    one: Float[Tensor, "_ width"], other: Float[Tensor, "_ width"], *, ridge: float = 0.0
) -> float:
    """Compute √(Σ ln² λ_i) + ‖μ − ν‖, from the covariances and the means of two sets of states.

    The λ_i are the generalised eigenvalues of the two covariances: how many times as widely one set spreads
    as the other, direction by direction. The distance is 0 for two sets with the same mean and covariance,
    and the same both ways. It changes with the scale of the states, because the means' distance does.

    Args:
        one: States of one language, a row per sentence.
        other: States of the other.
        ridge: The share of the mean variance of both sets that is added to every variance. Without it, each
            set needs more rows than it has coordinates.

    Returns:
        The distance, 0 or above.

    Raises:
        ArgumentError: Widths that differ, values that are not finite, or too few rows, so that some direction
            has no variance.

    Reference:
        Zhang et al. (2025), ShifCon, arXiv 2410.19453, §3.2.

    Example:
        >>> states = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> subspace_distance(states, states)
        0.0
        >>> round(subspace_distance(states, 2 * states), 4)  # √2 · ln 4
        1.9605
    """
    sides = [values.double().numpy(force=True) for values in (one, other)]
    if sides[0].shape[1] != sides[1].shape[1] or not all(np.isfinite(values).all() for values in sides):
        raise ArgumentError("both sets of states must have the same width and finite values")
    width, ridge = sides[0].shape[1], positive("ridge", ridge, zero=True)
    fewest = min(len(values) for values in sides)
    if fewest < 2 or (ridge == 0 and fewest <= width):
        raise ArgumentError(
            f"there are {fewest} states of width {width}, whose covariance has no inverse; give at least "
            f"{max(2, width + 1)} of each, or ridge= above 0"
        )
    covariances = [np.atleast_2d(np.cov(values, rowvar=False)) for values in sides]
    added = ridge * float(np.mean([np.trace(covariance) / width for covariance in covariances]))
    first, second = (covariance + added * np.eye(width) for covariance in covariances)
    try:
        eigenvalues = eigh(first, second, eigvals_only=True)
    except np.linalg.LinAlgError:
        eigenvalues = np.zeros(1)
    if not (eigenvalues > 0).all():
        raise ArgumentError(
            "the states do not vary in every direction, so that their covariance has no inverse; give more "
            "different sentences, or ridge= above 0"
        )
    spread = math.sqrt(float(np.square(np.log(eigenvalues)).sum()))
    return spread + float(np.linalg.norm(sides[0].mean(axis=0) - sides[1].mean(axis=0)))
