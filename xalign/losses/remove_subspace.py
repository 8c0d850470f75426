"""Language-subspace removal: remove the directions in which languages differ from the pivot."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.autocast import without_autocast
from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.losses.tokens import sentence_means
from xalign.losses.transform import Transform


def remove_subspace(
    language: Float[Tensor, "pair *token width"],
    pivot: Float[Tensor, "pair *pivot_token width"],
    *,
    languages: Int[Tensor, " pair"],
    language_mask: Bool[Tensor, "pair token"] | None = None,
    pivot_mask: Bool[Tensor, "pair pivot_token"] | None = None,
    rank: int | None = None,
) -> tuple[Float[Tensor, "pair *token width"], Float[Tensor, "pair *pivot_token width"]]:
    """Project both sides onto what is orthogonal to the mean differences between translations.

    There is one such difference per language of the batch: the mean over its pairs of sentence minus pivot
    sentence, in which their common meaning cancels out. The loss is then blind to these directions, and
    languages may keep them. The directions get no gradient: they are where languages differ now.

    Args:
        language: Pooled states, or the states of all tokens.
        pivot: The same for each pivot sentence.
        languages: A number per pair, equal within a language.
        language_mask: True at tokens that count; None for pooled states.
        pivot_mask: The same for the pivot.
        rank: How many directions to remove, those that explain most of the differences; all if None.

    Raises:
        ArgumentError: As many directions as coordinates, so that nothing would be left.

    Reference:
        After the language-specific subspace of Zhao et al. (2024), Lens, which is there of all text.

    Example:
        >>> meaning, shift = torch.tensor([[0.0, 1.0], [0.0, 2.0]]), torch.tensor([5.0, 0.0])
        >>> remove_subspace(meaning + shift, meaning, languages=torch.tensor([0, 0]))[0].tolist()
        [[0.0, 1.0], [0.0, 2.0]]
    """
    rank = None if rank is None else whole_number("rank", rank, least=1)
    dtype = torch.promote_types(language.dtype, torch.float32)
    language, pivot = language.to(dtype), pivot.to(dtype)
    mine, theirs = sentence_means(language, language_mask), sentence_means(pivot, pivot_mask)
    basis = _basis(mine.detach(), theirs.detach(), languages, rank)
    if len(basis) >= language.shape[-1]:
        raise ArgumentError(
            f"the differences of {len(basis)} languages span all {language.shape[-1]} coordinates, so that "
            "nothing would be left; give rank=, or fewer languages per batch"
        )
    return _without(basis, language), _without(basis, pivot)


REMOVE_SUBSPACE = Transform("remove_subspace", remove_subspace)


def _without(
    basis: Float[Tensor, "direction width"], states: Float[Tensor, "*state width"]
) -> Float[Tensor, "*state width"]:
    """Take directions from states; one that lies in them is left with rounding alone, which becomes 0."""
    left = states - without_autocast(states.device.type, _projected, basis, states)
    eps = 8 * len(basis) * torch.finfo(states.dtype).eps
    lengths, was = (values.detach().norm(dim=-1, keepdim=True) for values in (left, states))
    return left.masked_fill(lengths <= eps * was, 0.0)


def _projected(
    basis: Float[Tensor, "direction width"], states: Float[Tensor, "*state width"]
) -> Float[Tensor, "*state width"]:
    return states @ basis.T @ basis


def _basis(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    languages: Int[Tensor, " pair"],
    rank: int | None,
) -> Float[Tensor, "direction width"]:
    """Return orthonormal directions that span the mean differences of the languages."""
    differences = language - pivot
    _, of, sizes = torch.unique(languages, return_inverse=True, return_counts=True)
    sums = differences.new_zeros(len(sizes), differences.shape[1]).index_add(0, of, differences)
    means = sums / sizes.unsqueeze(1)
    if not bool(means.isfinite().all()):  # of states that are not finite, which the loss will show
        return differences[:0]
    _, sizes_of, directions = torch.linalg.svd(means, full_matrices=False)
    # Where translations have one mean, what is left is the rounding of their states: it is no direction.
    largest = torch.stack([language, pivot]).norm(dim=-1).amax() * len(means) ** 0.5
    real = sizes_of > 4 * len(language) * largest * torch.finfo(means.dtype).eps
    found: Tensor = directions[real][:rank]
    return found
