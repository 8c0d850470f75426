"""Mean squared error: the states of one side move to those of the other, which stays where it is."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.losses.loss import Loss
from xalign.losses.similarity import checked_sides

Moves = Literal["language", "pivot", "both"]
MOVES: tuple[Moves, ...] = ("language", "pivot", "both")


def mse(
    language: Float[Tensor, "pair width"], pivot: Float[Tensor, "pair width"], *, moves: Moves = "language"
) -> Float[Tensor, ""]:
    """Compute the mean over pairs and coordinates of (language − pivot)².

    Unlike cosine losses, it compares lengths too, and coordinates with large values dominate it. It does not
    use other pairs, so it is exact under gradient accumulation and works on a single pair.

    Bounds: the gradient at a vector is 2 / (pairs · width) times the difference of its pair. Values up to
    1e18 give a finite loss; the squares of larger ones overflow.

    Collapse: all vectors being equal, at 0 say, is a perfect score. So one side stays where it is (`moves`);
    with `"both"`, only replayed text and the task guard against it.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        moves: Which side gets a gradient: the languages, which then move to the pivot; the pivot; or both.

    Raises:
        ArgumentError: Sides of different shapes, no pair, or another `moves`.

    Example:
        >>> mse(torch.zeros(2, 3), torch.ones(2, 3)).item()
        1.0
    """
    if moves not in MOVES:
        raise ArgumentError(f"moves={moves!r:.60} must be one of {', '.join(MOVES)}")
    language, pivot = checked_sides(language, pivot)
    if not len(language):
        raise ArgumentError("the batch has no pair; give at least 1")
    language = language.detach() if moves == "pivot" else language
    pivot = pivot.detach() if moves == "language" else pivot
    return (language - pivot).square().mean()


MSE = Loss("mse", mse)
