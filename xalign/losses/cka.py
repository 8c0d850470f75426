"""CKA loss: the sentences of a batch have the same similarities to one another in both languages."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.autocast import without_autocast
from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.losses.direction import SHORTEST, power_of_two, shortest_of
from xalign.losses.loss import Loss
from xalign.losses.similarity import checked_sides
from xalign.losses.tokens import checked_tokens

FEWEST = {False: 2, True: 4}
"""The fewest rows without and with `debiased`: with fewer, the index does not depend on them."""


def linear_cka(
    rows: Float[Tensor, "row width"],
    others: Float[Tensor, "row other_width"],
    *,
    debiased: bool = False,
    shortest: float = SHORTEST,
) -> Float[Tensor, ""]:
    """Compute linear CKA, the cosine of the centred Gram matrices of two sets of rows.

    It is ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) of centred rows, in [0, 1], and does not change if a side is shifted, scaled
    or rotated. With far more coordinates than rows, it is near 1 for any rows whose distances are all
    similar, such as noise; `debiased` corrects for that, and is in [−1, 1].

    Rows that are all equal, up to the rounding of their mean, have no similarities: the index is 0, and so is
    their gradient. Any other gradient is at most 2 / r long in all, where r is the length of the longest row
    after the mean is subtracted; with `debiased`, it is finite.

    Args:
        rows: One set.
        others: The other; row i belongs to row i.
        debiased: Leave out each row's similarity to itself, and centre accordingly (U-centring).
        shortest: The length r up to which rows count as equal.

    Raises:
        ArgumentError: Sets of different size, or fewer than 2 rows, 4 with `debiased`.

    Reference:
        Kornblith et al. (2019); Székely and Rizzo (2014) for U-centring.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> round(linear_cka(rows, rows @ torch.tensor([[0.0, -3.0], [3.0, 0.0]]) + 5).item(), 4)
        1.0
    """
    if len(rows) != len(others) or len(rows) < FEWEST[boolean("debiased", debiased)]:
        raise ArgumentError(
            f"CKA needs as many rows on both sides, at least {FEWEST[debiased]} with debiased={debiased}; "
            f"there are {len(rows)} and {len(others)}"
        )
    grams = [without_autocast(rows.device.type, _gram, side, debiased, shortest) for side in (rows, others)]
    return (grams[0] * grams[1]).sum()


def cka(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    debiased: bool = False,
    detach_pivot: bool = False,
) -> Float[Tensor, ""]:
    """Compute 1 − CKA of the sentences of a batch, in [0, 1], or [0, 2] with `debiased`.

    Bounds: those of `linear_cka`.

    Collapse: both sides varying along one direction alone is a perfect score, and so is one side being the
    other rotated: the loss does not tell whether a sentence is near its translation. `detach_pivot` guards
    against the first; the second needs a loss of pairs as well, or `subtract_means` and `contrastive`.

    Args:
        language: A vector per sentence; 16 or more, and mind the bias of `linear_cka` in wide models.
        pivot: A vector per pivot sentence; row i translates row i.
        debiased: As in `linear_cka`; it needs 4 pairs.
        detach_pivot: Give the pivot side no gradient.

    Raises:
        ArgumentError: Sides of different shapes, or too few pairs.

    Reference:
        Nakai et al. (2025), TRepLiNa, whose rows are tokens: see `token_cka`.

    Example:
        >>> sentences = torch.randn(8, 16)
        >>> cka(sentences, 2 * sentences).item() < 1e-4
        True
    """
    rows, others = checked_sides(language, pivot)
    others = others.detach() if detach_pivot else others
    return 1 - linear_cka(rows, others, debiased=debiased, shortest=shortest_of(language, pivot))


def token_cka(
    language: Float[Tensor, "pair token width"],
    pivot: Float[Tensor, "pair pivot_token width"],
    *,
    language_mask: Bool[Tensor, "pair token"],
    pivot_mask: Bool[Tensor, "pair pivot_token"],
    debiased: bool = False,
    detach_pivot: bool = False,
) -> Float[Tensor, ""]:
    """Compute 1 − CKA of the tokens of a batch, comparing the t-th tokens of translations.

    The longer of two sentences is cut. Languages order words differently, so this asks for more than a
    translation can give; it is here because it is what the paper's code does.

    Bounds and collapse: as in `cka`.

    Args:
        language: A vector per token of each sentence.
        pivot: The same for each pivot sentence; row i translates row i.
        language_mask: True at tokens that count.
        pivot_mask: The same for the pivot.
        debiased: As in `linear_cka`; it needs 4 tokens.
        detach_pivot: Give the pivot side no gradient.

    Raises:
        ArgumentError: Sides or masks of shapes that do not fit, a sentence without a token that counts, or
            too few tokens.

    Reference:
        Nakai et al. (2025), TRepLiNa.
    """
    sides = checked_tokens(language, pivot, language_mask, pivot_mask)
    both = min(language.shape[1], pivot.shape[1])
    (mine, my_mask), (theirs, their_mask) = _first(sides[0], language_mask), _first(sides[1], pivot_mask)
    counted = my_mask[:, :both] & their_mask[:, :both]
    rows, others = mine[:, :both][counted], theirs[:, :both][counted]
    others = others.detach() if detach_pivot else others
    return 1 - linear_cka(rows, others, debiased=debiased, shortest=shortest_of(language, pivot))


CKA = Loss("cka", cka, needs_negatives=True)
TOKEN_CKA = Loss("token_cka", token_cka, level="token")


def _first(
    tokens: Float[Tensor, "pair token width"], mask: Bool[Tensor, "pair token"]
) -> tuple[Float[Tensor, "pair token width"], Bool[Tensor, "pair token"]]:
    """Bring the tokens that count to the front of each sentence, in their order."""
    order = (~mask).long().argsort(dim=1, stable=True)
    return tokens.gather(1, order.unsqueeze(2).expand_as(tokens)), mask.gather(1, order)


def _gram(rows: Float[Tensor, "row width"], debiased: bool, shortest: float) -> Float[Tensor, "row row"]:
    """Return the centred Gram matrix of some rows, scaled to length 1; zeros where they are all equal."""
    # CKA is blind to scale, so dividing by detached numbers changes neither it nor its gradient.
    eps, size = torch.finfo(rows.dtype).eps, power_of_two(rows.detach().abs().amax())
    scaled = rows / size  # sums of it do not overflow
    left = scaled - scaled.mean(dim=0)
    longest = left.detach().norm(dim=1).amax()
    rounding = len(rows) * eps * scaled.detach().norm(dim=1).amax()
    # Not `longest > …`, which would turn NaN into 0 and hide it.
    without = longest <= torch.clamp(rounding, min=shortest / size)
    left = left.masked_fill(without, 0.0) / longest.masked_fill(without, 1.0)
    gram = left @ left.T
    least = gram.detach().norm() * len(rows) * eps
    gram = _u_centred(gram) if debiased else gram
    length = gram.norm()
    without = length.detach() <= least
    centred: Tensor = gram.masked_fill(without, 0.0) / length.masked_fill(without, 1.0)
    return centred


def _u_centred(gram: Float[Tensor, "row row"]) -> Float[Tensor, "row row"]:
    """Subtract what makes all rows sum to 0, without the diagonal, which becomes 0."""
    n = len(gram)
    own = torch.eye(n, dtype=torch.bool, device=gram.device)
    others = gram.masked_fill(own, 0.0)
    sums = others.sum(dim=1) / (n - 2)
    centred = others - sums.unsqueeze(0) - sums.unsqueeze(1) + others.sum() / ((n - 1) * (n - 2))
    return centred.masked_fill(own, 0.0)
