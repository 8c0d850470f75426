"""Units that a sparse probe needs to tell a language's sentences from all others'."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import positive
from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, activations, check_options, check_texts, site_names
from xalign.finding.choice import choose_by
from xalign.finding.detectors import stored
from xalign.finding.l1_logistic import l1_logistic
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit_set import UnitSet


@takes_layout
def l1_probe(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "inner",
    *,
    c: float = 1.0,
    share: float | None = None,
    k: int | None = None,
    **options: Any,
) -> UnitSet:
    """Find the units to which a logistic probe with an L1 penalty gives a weight.

    At each site, a probe learns to tell a label's sentences from all others. The penalty leaves it few units,
    and of units that say the same it keeps one. So the set is small, and its units complement one another,
    where `expert_ap` takes each unit for itself.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these. Each
            site has a probe of its own.
        c: The weight of the data beside the penalty, as in scikit-learn; the smaller, the fewer units.
        share: Of the units with a weight, take at most this share of all units for each label; all that have
            one where None.
        k: Take at most this many for each label; all where None.
        **options: `pool` (`"mean"` by default), `state`, `pool_special_tokens`, `truncate`, `token_budget`,
            `site_bytes` and `experts` of `activations`.

    Returns:
        Per label its units, the best first. A score is the absolute value of a unit's weight, where units are
        scaled to variance 1. Values are medians over the label's own sentences.

    Raises:
        ArgumentError: Fewer than two labels, a wrong choice, or a label for which no unit has a weight.

    Reference:
        Durrani et al. (2020), Analyzing Individual Neurons in Pre-trained Language Models, §3, with L1 alone;
        Gurnee et al. (2023), Finding Neurons in a Haystack, §3, compare it with other sparse probes.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = l1_probe(model, tokenizer, texts, c=10.0, k=3)
        >>> len(units["deu_Latn"]) <= 3
        True
    """
    check_texts(texts, least=2)
    check_options("l1_probe", options)
    c, choice = positive("c", c), None if share is None and k is None else choose_by(share=share, k=k)
    warn_about_shared_texts(texts)
    options = {"pool": "mean"} | options
    widths: dict[Site, int] = {}
    weights: list[list[Tensor]] = [[] for _ in texts]
    values: list[list[Tensor]] = [[] for _ in texts]
    for of_site in activations(model, tokenizer, texts, sites, **options):
        widths[of_site.site] = of_site.values.shape[1]
        scaled = _scaled(of_site.values)
        for number in range(len(texts)):
            own = of_site.of(number)
            weights[number].append(l1_logistic(scaled, own, c=c)[0])
            is_low = torch.zeros(scaled.shape[1], dtype=torch.bool)
            values[number].append(stored(of_site.values[own], is_low, "median"))
    chosen = []
    for label, of_units, medians in zip(texts, map(torch.cat, weights), map(torch.cat, values), strict=True):
        score = of_units.abs()
        units = score.sort(descending=True, stable=True).indices if choice is None else choice.best(score)
        units = units[score[units] > 0]
        if not len(units):
            raise ArgumentError(f"no unit has a weight for {label} with c={c:g}; raise c, k or share")
        chosen.append((units, score[units], medians[units]))
    limit = {"k": None} if choice is None else {choice.by: choice.amount}
    settings = {"sites": site_names(sites), "c": c} | limit | options
    return Places(widths).unit_set(list(texts), chosen, origin_of(model, texts, "l1_probe", settings))


L1_PROBE = Method("l1_probe", l1_probe, "few units that together tell a language, by a sparse probe")


def _scaled(values: Float[Tensor, "sentence unit"]) -> Float[Tensor, "sentence unit"]:
    """Return values of mean 0 and variance 1 per unit; 0 where all are equal."""
    centred = values.double() - values.double().mean(dim=0)
    deviation = centred.square().mean(dim=0).sqrt()
    return torch.where(deviation > 0, centred / deviation.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
