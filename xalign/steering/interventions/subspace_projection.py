"""`subspace_projection`: states without an attribute's directions, in the model's space (SentDebias)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.finding.activations import Sites, site_names
from xalign.finding.provenance import origin_of
from xalign.model.architectures.sites import Pool, Site
from xalign.model.positions import Positions
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.attribute_subspace import (
    Counterfactuals,
    attribute_subspace,
    read_sides,
    sides_of,
)
from xalign.steering.interventions.reading import check_reading
from xalign.steering.interventions.same_size import generator_of


@dataclass(frozen=True, slots=True)
class SubspaceProjection(Intervention):
    """The intervention that `subspace_projection` fits, with its directions.

    Attributes:
        bases: Site -> V, orthonormal directions in the columns.
    """

    bases: Mapping[Site, Float[Tensor, "width rank"]] = field(default_factory=dict)


def subspace_projection(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    counterfactuals: Counterfactuals,
    sites: Sites,
    *,
    rank: int = 1,
    pool: Pool = "mean",
    positions: Positions = "all",
    **options: Any,
) -> SubspaceProjection:
    """Remove the directions of an attribute from a model's states.

    At each site, V holds the first directions in which the pooled states of counterfactual sentences differ
    (`attribute_subspace`). At strength s, the states h of a token become h − s · V Vᵀ h; at 1, nothing is
    left along V.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        counterfactuals: Language -> pairs of sentences that differ in the attribute only. Pairs of several
            languages are taken together.
        sites: Where, such as `"5.hidden"`.
        rank: How many directions.
        pool: How tokens are pooled over a sentence.
        positions: At which tokens, as in `write`.
        **options: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        An intervention. Its control removes as many random directions.

    Raises:
        ArgumentError: No pair, equal sides, sites that do not exist, or a rank that is too high.

    Reference:
        Liang et al. (2020), Towards Debiasing Sentence Representations (SentDebias), ACL, §2. There it is
        done to the sentence's vector, behind the model; here inside, to each token.

    Example:
        >>> pairs = {"eng_Latn": [("He reads a book.", "She reads a book."), ("He runs.", "She runs.")]}
        >>> with steer(model, subspace_projection(model, tokenizer, pairs, "1.hidden")) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    check_reading("subspace_projection", options)
    texts = sides_of(counterfactuals)
    bases = {
        site: attribute_subspace(both[:, 0] - both[:, 1], rank).float()
        for site, both in read_sides(model, tokenizer, texts, sites, pool, **options).items()
    }
    settings = {"sites": site_names(sites), "rank": rank, "pool": pool}
    origin = origin_of(model, texts, "subspace_projection", settings | options)
    return _intervention("subspace_projection", bases, positions, origin)


def random_basis(basis: Float[Tensor, "width rank"], generator: torch.Generator) -> Tensor:
    """Return as many random orthonormal directions."""
    noise = torch.randn(basis.shape, generator=generator, dtype=torch.float64)
    drawn: Tensor = torch.linalg.qr(noise)[0].to(basis.dtype)
    return drawn


def _intervention(
    name: str, bases: Mapping[Site, Tensor], positions: Positions, origin: Mapping[str, Any]
) -> SubspaceProjection:
    def make(strength: float) -> dict[Site, Edit]:
        return {
            site: Edit("transform", (torch.eye(len(basis)) - strength * basis @ basis.T, None))
            for site, basis in bases.items()
        }

    def control(seed: int) -> Intervention:
        drawn = {site: random_basis(basis, generator_of(seed, name, site)) for site, basis in bases.items()}
        return _intervention(f"{name} random {seed}", drawn, positions, {**origin, "method": "random"})

    return SubspaceProjection(name, make, positions, origin, control, bases)
