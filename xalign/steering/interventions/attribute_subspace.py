"""`attribute_subspace`: the directions in which the two sides of counterfactual pairs differ (SentDebias)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Sites, activations
from xalign.model.architectures.sites import Pool, Site

Counterfactuals = Mapping[str, Sequence[tuple[str, str]]]
"""Language -> pairs of sentences that differ in one attribute only."""


def attribute_subspace(
    differences: Float[Tensor, "pair width"], rank: int = 1
) -> Float[Tensor, "width rank"]:
    """Return the directions along which the two sides of pairs differ most.

    They are the first principal directions of the states of both sides, each minus the mean of its pair: the
    right singular vectors of the differences, which are not centred. Centring them would take away what all
    pairs have in common, which is the attribute.

    Args:
        differences: The states of one side minus those of the other, a row per pair.
        rank: How many directions.

    Returns:
        An orthonormal basis V in float64, the direction of the largest differences first. Each sign is such
        that the pairs differ in this direction on average.

    Raises:
        ArgumentError: A rank above what the differences span, or values that are not finite.

    Reference:
        Liang et al. (2020), Towards Debiasing Sentence Representations, ACL, §2.3; in the code each pair is
        centred by its own mean.

    Example:
        >>> attribute_subspace(torch.tensor([[2.0, 0.0], [2.0, 0.1], [2.0, -0.1]]))
        tensor([[1.],
                [0.]], dtype=torch.float64)
    """
    rank, wide = whole_number("rank", rank, least=1), differences.double()
    if not bool(wide.isfinite().all()):
        raise ArgumentError("differences hold NaN or infinity")
    there = int(torch.linalg.matrix_rank(wide)) if len(wide) else 0
    if rank > there:
        raise ArgumentError(
            f"rank={rank} must be at most {there}, the number of directions in which the {len(wide)} pair(s) "
            "differ; give more pairs, or a smaller rank"
        )
    basis = torch.linalg.svd(wide, full_matrices=False).Vh[:rank].T
    along = (wide @ basis).mean(dim=0)
    found: Tensor = basis * torch.where(along < 0, -1.0, 1.0)
    return found + 0.0  # no negative zeros


def sides_of(counterfactuals: Counterfactuals) -> dict[str, list[str]]:
    """Return language -> both sides of all pairs, one sentence after the other.

    Raises:
        ArgumentTypeError: Anything but two texts per pair.
        ArgumentError: No language, no pair, or a pair of equal sentences.
    """
    if not isinstance(counterfactuals, Mapping):
        raise ArgumentTypeError(
            f"counterfactuals must map languages to pairs of sentences, not be {counterfactuals!r:.60}"
        )
    found: dict[str, list[str]] = {}
    for language, pairs in counterfactuals.items():
        for pair in pairs:
            if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(one, str) for one in pair):
                raise ArgumentTypeError(
                    f"counterfactuals[{language!r}] must hold pairs of sentences, not {pair!r:.80}"
                )
            if pair[0] == pair[1]:
                raise ArgumentError(f"counterfactuals[{language!r}] has a pair without a difference")
        found[language] = [text for pair in pairs for text in pair]
        if not found[language]:
            raise ArgumentError(f"counterfactuals[{language!r}] is empty; give pairs, or leave it out")
    if not found:
        raise ArgumentError("counterfactuals has no language; give pairs of at least one")
    return found


def read_sides(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites,
    pool: Pool,
    **options: Any,
) -> dict[Site, Float[Tensor, "pair 2 width"]]:
    """Return the pooled states of both sides of the pairs of all languages, at each site.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: What `sides_of` returns.
        sites: As in `activations`.
        pool: How tokens are pooled.
        **options: Those of `activations` that are for reading.
    """
    return {
        found.site: found.values.reshape(-1, 2, found.values.shape[1])
        for found in activations(model, tokenizer, texts, sites, pool=pool, **options)
    }
