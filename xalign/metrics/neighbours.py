"""The nearest neighbours of sentences in the other language, from a similarity matrix."""

from jaxtyping import Float, Int
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError


def nearest(similarity: Float[Tensor, "query candidate"], k: int) -> Int[Tensor, "query k"]:
    """Return the k candidates nearest to each query, the nearest first; of equal ones the first.

    Raises:
        ArgumentError: Fewer than k candidates.

    Example:
        >>> nearest(torch.tensor([[0.1, 0.9, 0.9], [0.5, 0.4, 0.3]]), k=2).tolist()
        [[1, 2], [0, 1]]
    """
    check_neighbours(similarity.shape[1], k)
    return similarity.sort(dim=1, descending=True, stable=True).indices[:, :k]


def neighbourhood(similarity: Float[Tensor, "query candidate"], k: int) -> Float[Tensor, " query"]:
    """Return the mean similarity of each query to its k nearest candidates.

    Example:
        >>> neighbourhood(torch.tensor([[0.5, 1.0, 0.0]]), k=2).tolist()
        [0.75]
    """
    check_neighbours(similarity.shape[1], k)
    return similarity.topk(k, dim=1).values.mean(dim=1)


def check_neighbours(n: int, k: int) -> None:
    """Raise an error where there are fewer candidates than neighbours are asked for."""
    if whole_number("k", k, least=1) > n:
        raise ArgumentError(f"k={k} nearest neighbours are asked for, and there are {n}; give more pairs")
