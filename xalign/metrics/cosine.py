"""Cosine similarities of two sets of vectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def cosine_matrix(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, "pair pair"]:
    """Return the cosines of all pivot vectors (rows) with all vectors of the other language (columns).

    They are computed in float64. A blocked matrix product can give equal vectors cosines that differ in their
    last bits, and rounding errors then decide a tie. Cosines are therefore rounded to 12 decimals, where
    equal vectors tie. A zero vector has no direction: its cosines are NaN.

    Args:
        pivot: One vector per pair.
        other: One vector per pair, where row i translates pivot row i.

    Returns:
        The matrix C, where C[i, j] in [-1, 1] is the cosine of pivot i and sentence j.
    """
    return torch.round(_directions(pivot) @ _directions(other).T, decimals=12)


def _directions(vectors: Float[Tensor, "pair width"]) -> Float[Tensor, "pair width"]:
    doubled = vectors.double()
    directions: Tensor = doubled / doubled.norm(dim=1, keepdim=True)
    return directions
