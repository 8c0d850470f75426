"""Cosine loss: translations point the same way."""

from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.losses.direction import directions, shortest_of
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

    Bounds: the gradient at a vector of length r is at most 1 / (pairs · r) long. A vector of length up to
    1e-12 (in float16, 3e-5) has no direction: its cosine is 0 and its gradient 0. So loss and gradients of
    finite vectors are finite.

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
    sides = checked_sides(language, pivot)
    shortest = shortest_of(language, pivot)
    language, pivot = sides
    if not len(language):
        raise ArgumentError("the batch has no pair; give at least 1")
    pivot = pivot.detach() if detach_pivot else pivot
    return 1 - (directions(language, shortest) * directions(pivot, shortest)).sum(dim=1).mean()


COSINE = Loss("cosine", cosine)
