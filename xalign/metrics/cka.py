"""Linear CKA: whether two languages place the same sentences in the same way, up to rotation and scale."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.metrics.centred import centred, check_states, quotient
from xalign.metrics.jackknife import jackknife_values
from xalign.metrics.metric import Metric

_LEAST = 4
_ROUNDING = 1e-10
Sums = tuple[Tensor, Tensor, Tensor, Tensor]


def linear_cka(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair _"], *, debiased: bool = True
) -> Float[Tensor, ""]:
    """Return the linear centred kernel alignment of two sets of states.

    CKA = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)), where K and L hold the inner products of the sentences within
    each language. With the usual estimate of HSIC, that is ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) for centred states. It is
    biased upwards where states are wide: for independent normal states it is about d / (d + n), .98 of 100
    sentences and width 4096. The debiased estimate (HSIC₁) is about 0 there, and can be slightly negative.

    Args:
        pivot: States of the pivot, a row per sentence.
        other: States of their translations; the width may differ.
        debiased: Use the unbiased estimate of HSIC.

    Returns:
        A number from 0 to 1 (the debiased one at most 1); 0 where the states of one side are all the same, or
            (debiased) all orthogonal or equally far apart.

    Raises:
        ArgumentError: Different numbers of rows, or fewer than 4 (2 for the biased one).

    Reference:
        Kornblith et al. (2019), Similarity of neural network representations revisited; the unbiased
        estimate is of Song et al. (2012).

    Example:
        >>> states = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [5.0, 3.0], [0.0, 0.0]])
        >>> round(linear_cka(states, 3 * states.flip(1) + 1).item(), 9)  # turned, scaled and moved
        1.0
    """
    check_states(pivot, other, _LEAST if debiased else 2)
    if not debiased:
        k, ell = _inner_products(pivot), _inner_products(other)  # never width × width
        return quotient((k * ell).sum(), k.norm() * ell.norm())
    k, ell = (_inner_products(states).fill_diagonal_(0) for states in (pivot, other))
    return _ratio([_sums(*sides) for sides in ((k, ell), (k, k), (ell, ell))], len(k))


def cka_per_pair(
    pivot: Float[Tensor, "pair width"], other: Float[Tensor, "pair _"]
) -> Float[Tensor, " pair"]:
    """Return what each pair adds to the debiased CKA (`jackknife_values`). Their mean is `linear_cka`.

    The CKAs that leave out one pair each are exact, and cost only a few products of pair × pair matrices.

    Raises:
        ArgumentError: Different numbers of rows, or fewer than 5.

    Example:
        >>> states = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [5.0, 3.0], [0.0, 0.0]])
        >>> round(cka_per_pair(states, states).mean().item(), 9)
        1.0
    """
    n = check_states(pivot, other, _LEAST + 1)
    k, ell = (_inner_products(states).fill_diagonal_(0) for states in (pivot, other))
    sides = ((k, ell), (k, k), (ell, ell))
    whole = _ratio([_sums(*both) for both in sides], n)
    without = _ratio([_sums_without_each(*both) for both in sides], n - 1)
    return jackknife_values(whole, without)


def cka_chance(n: int) -> float:  # noqa: ARG001
    """Return the debiased CKA expected of states that have nothing to do with one another: 0.

    Example:
        >>> cka_chance(100)
        0.0
    """
    return 0.0


def _inner_products(states: Tensor) -> Tensor:
    apart = centred(states)
    largest = apart.abs().amax().clamp_min(torch.finfo(torch.float64).tiny)
    apart = apart / largest  # products of four stay finite, and CKA has no scale
    return apart @ apart.T


def _sums(k: Tensor, ell: Tensor) -> Sums:
    """Return tr(KL), 1ᵀK1, 1ᵀL1 and 1ᵀKL1 of matrices whose diagonal is 0."""
    return (k * ell).sum(), k.sum(), ell.sum(), k.sum(dim=1) @ ell.sum(dim=1)


def _sums_without_each(k: Tensor, ell: Tensor) -> Sums:
    """Return the same of the matrices without row and column i, for every i."""
    rows_k, rows_l, products = k.sum(dim=1), ell.sum(dim=1), (k * ell).sum(dim=1)
    both = rows_k @ rows_l - rows_k * rows_l - ell @ rows_k - k @ rows_l + products
    return products.sum() - 2 * products, k.sum() - 2 * rows_k, ell.sum() - 2 * rows_l, both


def _hsic(sums: Sums, n: int) -> Tensor:
    trace, sum_k, sum_l, both = sums
    return trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * both / (n - 2)


def _ratio(sides: Sequence[Sums], n: int) -> Tensor:
    (between, of_k, of_l), own = sides, []
    for sums in (of_k, of_l):
        found = _hsic(sums, n)
        # Where all sentences are equally far from one another, all that is left is rounding.
        own.append(torch.where(found > _ROUNDING * sums[0], found, 0.0))
    return quotient(_hsic(between, n), (own[0] * own[1]).sqrt())


CKA = Metric(
    "cka",
    "Debiased CKA",
    "hidden",
    cka_per_pair,
    over="states",
    bounds=None,
    chance=cka_chance,
    has_floor=False,
    unit="debiased CKA",
    least_pairs=_LEAST + 1,
    definition=(
        "How alike the geometry of all sentences is in both languages (debiased linear centred "
        "kernel alignment): 1 where one is the other turned and scaled, about 0 where they are "
        "unrelated."
    ),
)
