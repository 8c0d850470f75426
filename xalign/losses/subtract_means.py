"""Bias compensation: subtract from all states of a language their mean over the batch."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.losses.direction import power_of_two
from xalign.losses.tokens import sentence_means
from xalign.losses.transform import Transform


def subtract_means(
    language: Float[Tensor, "pair *token width"],
    pivot: Float[Tensor, "pair *pivot_token width"],
    *,
    languages: Int[Tensor, " pair"],
    language_mask: Bool[Tensor, "pair token"] | None = None,
    pivot_mask: Bool[Tensor, "pair pivot_token"] | None = None,
) -> tuple[Float[Tensor, "pair *token width"], Float[Tensor, "pair *pivot_token width"]]:
    """Subtract from each language's states the mean of its sentences, and from the pivot's the mean of all.

    The mean mostly encodes the language. A sentence counts once, however many tokens it has. Losses that take
    `languages` do the same by themselves with `centre=True`. Gradients flow through the means. Where a side's
    sentences are all equal, nothing but the rounding of their mean is left, and it becomes 0.

    Args:
        language: Pooled states, or the states of all tokens.
        pivot: The same for each pivot sentence.
        languages: A number per pair, equal within a language.
        language_mask: True at tokens that count; the others become 0. None for pooled states.
        pivot_mask: The same for the pivot.

    Raises:
        ArgumentError: A language with a single pair, of which nothing would remain.

    Reference:
        Li et al. (2025), POTSA: there over all sentences of a language, here over those of the batch.

    Example:
        >>> states = torch.tensor([[1.0], [3.0]])
        >>> subtract_means(states, 2 * states, languages=torch.tensor([0, 0]))[1].flatten().tolist()
        [-2.0, 2.0]
    """
    numbers, sizes = torch.unique(languages, return_counts=True)
    if bool((sizes < 2).any()):
        raise ArgumentError(
            f"languages has one pair of language {int(numbers[sizes < 2][0])}; subtract_means needs at least "
            "2 pairs of each language in a batch"
        )
    one = torch.zeros_like(languages)
    return _without_means(language, languages, language_mask), _without_means(pivot, one, pivot_mask)


SUBTRACT_MEANS = Transform("subtract_means", subtract_means, needs_groups=True)


def _without_means(
    states: Float[Tensor, "pair *token width"],
    groups: Int[Tensor, " pair"],
    mask: Bool[Tensor, "pair token"] | None,
) -> Float[Tensor, "pair *token width"]:
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    size = power_of_two(states.detach().abs().amax())
    scaled = states / size  # sums of it do not overflow
    sentences = sentence_means(scaled, mask)
    _, of, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    sums = sentences.new_zeros(len(sizes), sentences.shape[1]).index_add(0, of, sentences)
    means = (sums / sizes.unsqueeze(1))[of]
    left = scaled - (means if mask is None else means.unsqueeze(1))
    rounding = int(sizes.max()) * torch.finfo(left.dtype).eps * scaled.detach().norm(dim=-1).amax()
    nothing = left.detach().norm(dim=-1, keepdim=True) <= rounding
    if mask is not None:
        nothing = nothing | ~mask.unsqueeze(2)
    found: Tensor = left.masked_fill(nothing, 0.0) * size
    return found
