"""Isotropy of a language's states: whether they fill their space, or point the same way."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.metrics.centred import centred, check_states, quotient
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.jackknife import jackknife_values
from xalign.metrics.metric import Metric

_LEAST = 3


def anisotropy(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return the mean cosine of each sentence with the other sentences of its language, in [−1, 1].

    It nears 1 where all states of the language point the same way, and is about 0 where directions are
    random. High cosines of translations then mean little. `others_cosine` measures the same across languages.

    Args:
        pivot: The states of the pivot, which are not used.
        other: The states of the language.

    Raises:
        ArgumentError: Fewer than 2 sentences.

    Reference:
        Ethayarajh (2019), How contextual are contextualized word representations?

    Example:
        >>> states = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> anisotropy(states, states).tolist()
        [0.5, 0.0, 0.5]
    """
    n = check_states(pivot, other, 2)
    cosines = cosine_matrix(other, other)
    return (cosines.sum(dim=1) - cosines.diagonal()) / (n - 1)


def anisotropy_chance(n: int) -> float:  # noqa: ARG001
    """Return the mean cosine of random directions: 0.

    Example:
        >>> anisotropy_chance(100)
        0.0
    """
    return 0.0


def iso_score(states: Float[Tensor, "sentence width"]) -> Float[Tensor, ""]:
    """Return the share of dimensions that a cloud of states uses alike, from 0 (a line) to 1 (a ball).

    With variances λ along the principal axes, the number of dimensions used is (Σλ)² / Σλ², and the score is
    (that number − 1) / (width − 1). This equals IsoScore's formula by δ and φ. n sentences use at most n − 1
    dimensions, so compare scores of the same n.

    Raises:
        ArgumentError: Fewer than 2 sentences, or a width of 1.

    Reference:
        Rudman et al. (2022), IsoScore: measuring the uniformity of embedding space utilization.

    Example:
        >>> iso_score(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item()
        1.0
    """
    width = _check_width(states)
    check_states(states, states, 2)
    products = _products(states)
    return _score(products.trace(), products.square().sum(), width)


def iso_score_per_pair(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair width"]
) -> Float[Tensor, " pair"]:
    """Return what each sentence adds to the IsoScore of its language (`jackknife_values`).

    Args:
        pivot: The states of the pivot, which are not used.
        other: The states of the language.

    Raises:
        ArgumentError: Fewer than 3 sentences, or a width of 1.

    Example:
        >>> states = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> iso_score_per_pair(states, states).mean().item()
        1.0
    """
    n, width = check_states(pivot, other, _LEAST), _check_width(other)
    products = _products(other)
    share, own = n / (n - 1), products.diagonal()
    squares = products.square()
    whole = _score(own.sum(), squares.sum(), width)
    without = _score(
        own.sum() - share * own,
        squares.sum() - 2 * share * squares.sum(dim=1) + (share * own).square(),
        width,
    )
    return jackknife_values(whole, without)


def _check_width(states: Tensor) -> int:
    if states.shape[1] < 2:  # noqa: PLR2004
        raise ArgumentError("states of width 1 always use their one dimension; isotropy needs more")
    return states.shape[1]


def _products(states: Tensor) -> Tensor:
    apart = centred(states)
    apart = apart / apart.abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    return apart @ apart.T


def _score(trace: Tensor, squares: Tensor, width: int) -> Tensor:
    used = quotient(trace.square(), squares.clamp_min(0))
    # States that do not vary use no dimension: no less uniform than those on a line.
    return (used.clamp_min(1) - 1) / (width - 1)


ANISOTROPY = Metric(
    "anisotropy",
    "Anisotropy",
    "hidden",
    anisotropy,
    over="states",
    bounds=(-1.0, 1.0),
    chance=anisotropy_chance,
    has_floor=False,
    unit="cosine",
    higher_is_better=False,
    definition=(
        "The mean cosine of sentences of one language with one another. Near 1, all states point "
        "the same way, and cosines tell little."
    ),
)
ISO_SCORE = Metric(
    "iso_score",
    "IsoScore",
    "hidden",
    iso_score_per_pair,
    over="states",
    bounds=None,
    has_floor=False,
    unit="share of dimensions",
    least_pairs=_LEAST,
    definition=(
        "How evenly the states of a language use the dimensions: 1 where all equally, 0 where one alone."
    ),
)
