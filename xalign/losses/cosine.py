"""Cosine loss: translations point the same way."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from xalign.errors import ArgumentError
from xalign.losses.loss import Loss
from xalign.losses.similarity import checked_sides


def cosine(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    detach_pivot: bool = False,
) -> Float[Tensor, ""]:
    """Compute the mean over pairs of 1 − cos(language_i, pivot_i), in [0, 2].

    Unlike the contrastive loss it does not use other pairs, so it is exact under gradient accumulation and
    works on a single pair.

    Collapse: all sentences pointing one way is a perfect score. `detach_pivot` guards against it, because a
    pivot that does not move stays spread out; replayed text helps in part.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        detach_pivot: Give the pivot side no gradient.

    Raises:
        ArgumentError: Sides of different shapes, or no pair.

    Example:
        >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
        1.0
    """
    language, pivot = checked_sides(language, pivot)
    if not len(language):
        raise ArgumentError("the batch has no pair; give at least 1")
    return 1 - cosine_similarity(language, pivot.detach() if detach_pivot else pivot, dim=1).mean()


COSINE = Loss("cosine", cosine)
