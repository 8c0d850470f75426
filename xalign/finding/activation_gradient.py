"""Neurons by activation × gradient: how much the loss on a language depends on each of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import positive
from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, check_texts, site_names
from xalign.finding.choice import Choice, choose_by
from xalign.finding.importance import Importance, importance
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.model.architectures.layout_argument import takes_layout
from xalign.units.unit_set import UnitSet

Select = Literal["specific", "agnostic"]


@takes_layout
def activation_gradient(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites = "inner",
    *,
    select: Select = "specific",
    share: float | None = None,
    k: int | None = None,
    least_part: float | None = None,
    **options: Any,
) -> UnitSet:
    """Find the units whose activation times gradient is large for one language, or equally for all.

    The importance of a unit is Φ = E |a · ∂L/∂a|, which `importance` computes: to first order, by how much
    the loss would change without it.

    Args:
        model: A causal language model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> texts, at least two labels.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these. Take
            those that `importance(...).important_sites(k)` returns, to choose layers first.
        select: `"specific"`: for each label, the units whose importance is largest for that label, ranked by
            its part of the sum over labels. `"agnostic"`: the same units for every label, those that are
            equally important for all: ranked by mean divided by standard deviation, among the half with the
            larger mean.
        share: Take this share of all units for each label; .02 without `k`.
        k: Take this many for each label.
        least_part: With `"specific"`, the least part that the label must have, in (0, 1]; none if None.
        **options: `truncate`, `source_codes` and `token_budget` of `activations`.

    Returns:
        Per label its units, the best first. Values are the mean over the label's tokens.

    Raises:
        ArgumentError: Fewer than two labels, a wrong choice, or a label that no unit would be chosen for.
        ModelError: A model that predicts no tokens, or experts of a mixture.

    Reference:
        In the spirit of LLaVA-NeuMT (2025), whose formulas we could not read; the importance is that of
        Molchanov et al. (2017), Pruning Convolutional Neural Networks, eq. 7.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> activation_gradient(model, tokenizer, texts, k=3)
        UnitSet(eng_Latn 3, deu_Latn 3)
    """
    check_texts(texts, least=2)
    if select not in get_args(Select):
        raise ArgumentError(f"select={select!r:.60} must be one of {', '.join(get_args(Select))}")
    if least_part is not None and (positive("least_part", least_part) > 1 or select == "agnostic"):
        raise ArgumentError(f"least_part={least_part} must be at most 1, and is for select='specific'")
    choice = choose_by(share=share, k=k)
    warn_about_shared_texts(texts)
    found = importance(model, tokenizer, texts, sites, **options)
    chosen = _chosen(found, _scores(found, select, least_part or 0.0), choice, select)
    settings = {"sites": site_names(sites), "select": select, choice.by: choice.amount}
    origin = origin_of(model, texts, "activation_gradient", settings | {"least_part": least_part} | options)
    return Places(found.widths).unit_set(list(texts), chosen, origin)


ACTIVATION_GRADIENT = Method(
    "activation_gradient",
    activation_gradient,
    "units that the loss on a language depends on",
    sets=("pool", "state", "pool_special_tokens", "site_bytes", "experts"),
)


def _chosen(
    found: Importance, score: Float[Tensor, "label unit"], choice: Choice, select: Select
) -> list[tuple[Tensor, ...]]:
    """Return per label the units that are chosen, their scores and their means.

    Raises:
        ArgumentError: A label for which none is.
    """
    chosen: list[tuple[Tensor, ...]] = []
    for label, own, mean in zip(found.labels, score, found.all_means, strict=True):
        units = choice.best(own)
        units = units[own[units] > -torch.inf]
        if not len(units):
            raise ArgumentError(
                f"{choice}: no unit is {select} for {label}; choose more, or a smaller least_part"
            )
        chosen.append((units, own[units], mean[units]))
    return chosen


def _scores(found: Importance, select: Select, least_part: float) -> Float[Tensor, "label unit"]:
    """Return per label and unit what is ranked; −∞ where the unit is not to be chosen."""
    values = found.all_values
    if select == "agnostic":
        mean, spread = values.mean(dim=0), values.std(dim=0, correction=0)
        score = mean / spread.clamp(min=torch.finfo(torch.float64).tiny)
        return score.masked_fill(mean < mean.median(), -torch.inf).expand(len(values), -1)
    part = values / values.sum(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    is_largest = part == part.amax(dim=0)
    return part.masked_fill(~is_largest | (part < least_part) | (values == 0), -torch.inf)
