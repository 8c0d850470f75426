"""`least_squares_map`: the matrix that maps some vectors to others with the least squared error."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError


def least_squares_map(
    source: Float[Tensor, "pair width"],
    target: Float[Tensor, "pair width"],
    ridge: float | None = None,
    *,
    name: str = "source",
) -> Float[Tensor, "width width"]:
    """Return the matrix W that minimises ‖X W − Y‖² over the pairs, without an intercept.

    Args:
        source: X, a vector per row.
        target: Y, the vector that each should be mapped to.
        ridge: With None, W must be unique: there are as many pairs as coordinates, and the rows of X span the
            space. With 0, it is the smallest of the matrices that fit best. With λ > 0, λ ‖W‖² is added to
            the error.
        name: What errors call the vectors.

    Returns:
        W in float64.

    Raises:
        ArgumentError: Different shapes, values that are not finite, or too few pairs for a unique W.

    Reference:
        Wang et al. (2025), Bridging the Language Gaps in Large Language Models with Inference-Time
        Cross-Lingual Intervention (INCLINE), §3.1.

    Example:
        >>> least_squares_map(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        tensor([[3.0000, 0.0000],
                [0.0000, 0.5000]], dtype=torch.float64)
    """
    if source.shape != target.shape:
        raise ArgumentError(
            f"{name} and its target have shapes {tuple(source.shape)} and {tuple(target.shape)}"
        )
    x, y = source.double(), target.double()
    if not bool(x.isfinite().all() and y.isfinite().all()):
        raise ArgumentError(f"{name} or its target holds NaN or infinity")
    n, width = x.shape
    if ridge is not None and positive("ridge", ridge, zero=True) > 0:
        return _ridged(x, y, float(ridge))
    found = torch.linalg.lstsq(x, y, driver="gelsy")
    rank = int(found.rank)
    if ridge is None and rank < width:
        missing = f"{n} pair(s)" if n < width else f"{n} pairs that span {rank} dimensions only"
        raise ArgumentError(
            f"{name} has width {width} and there are {missing}, so that the map is not unique: give at least "
            f"{width} different sentences, {width - rank} more; or ridge= above 0; or ridge=0 for the "
            "smallest of the maps that fit"
        )
    solution: Tensor = found.solution
    return solution


def _ridged(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Return the ridge solution, from the smaller of the two Gram matrices."""
    n, width = x.shape
    solution: Tensor
    if n < width:
        gram = x @ x.T + ridge * torch.eye(n, dtype=x.dtype)
        solution = x.T @ torch.linalg.solve(gram, y)
    else:
        gram = x.T @ x + ridge * torch.eye(width, dtype=x.dtype)
        solution = torch.linalg.solve(gram, x.T @ y)
    return solution
