"""Cosine similarities of two sets of vectors."""

import torch
from jaxtyping import Float
from torch import Tensor


def cosine_matrix(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, "pair pair"]:
    """Cosines between all pivot vectors (rows) and all vectors of the other language (columns), in float64.

    A blocked matrix product gives equal vectors cosines that differ in their last bits, and then a tie is won
    by chance; so cosines are rounded to 12 decimals, where equal vectors tie again. A zero vector has no
    direction: its cosines are NaN.

    Args:
        pivot: One vector per pair.
        other: One vector per pair, row i for the translation of pivot row i.

    Returns:
        C with C[i, j] in [-1, 1] the cosine of pivot i and sentence j.
    """
    return torch.round(_directions(pivot) @ _directions(other).T, decimals=12)


def _directions(vectors: Float[Tensor, "pair width"]) -> Float[Tensor, "pair width"]:
    doubled = vectors.double()
    directions: Tensor = doubled / doubled.norm(dim=1, keepdim=True)
    return directions
