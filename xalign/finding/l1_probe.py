"""Units that a sparse probe needs to tell a language's sentences from all others'."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import positive
from xalign.errors import ArgumentError
from xalign.finding.activations import Activations, Sites, activations, check_options, check_texts, site_names
from xalign.finding.choice import Choice, choose_by
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

    At each site, a probe learns to tell a label's sentences from all others. The penalty leaves it few units
    that complement one another, whereas `expert_ap` takes each unit by itself.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look, as in `expert_ap`. Each site has a probe of its own.
        c: The weight of the data relative to the penalty, as in scikit-learn; the smaller, the fewer units.
        share: Take at most this share of all units for each label; all that have a weight if None.
        k: Take at most this many for each label; all that have a weight if None.
        **options: `pool` (`"mean"` by default), `state`, `pool_special_tokens`, `truncate`, `token_budget`,
            `site_bytes` and `experts` of `activations`.

    Returns:
        Per label its units, the best first. A score is the size of the weight, with units scaled to variance
        1; values are medians over the label's own sentences.

    Raises:
        ArgumentError: Fewer than two labels, a wrong choice, or a label for which no unit has a weight.

    Reference:
        Durrani et al. (2020), Analyzing Individual Neurons in Pre-trained Language Models, §3, with L1 alone;
        Gurnee et al. (2023), Finding Neurons in a Haystack, §3, compare it with other sparse probes.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> l1_probe(model, tokenizer, texts, c=10.0, k=1)
        UnitSet(eng_Latn 1, deu_Latn 1)
    """
    check_texts(texts, least=2)
    check_options("l1_probe", options)
    c, choice = positive("c", c), None if share is None and k is None else choose_by(share=share, k=k)
    warn_about_shared_texts(texts)
    options = {"pool": "mean"} | options
    widths: dict[Site, int] = {}
    scores, medians = [], []
    for of_site in activations(model, tokenizer, texts, sites, **options):
        widths[of_site.site] = of_site.values.shape[1]
        score, median = _probed(of_site, len(texts), c)
        scores.append(score)
        medians.append(median)
    found = zip(texts, torch.cat(scores, dim=1), torch.cat(medians, dim=1), strict=True)
    chosen = [_chosen(label, score, median, choice, c) for label, score, median in found]
    limit = {"k": None} if choice is None else {choice.by: choice.amount}
    settings = {"sites": site_names(sites), "c": c} | limit | options
    return Places(widths).unit_set(list(texts), chosen, origin_of(model, texts, "l1_probe", settings))


L1_PROBE = Method("l1_probe", l1_probe, "few units that together tell a language, by a sparse probe")


def _probed(
    of_site: Activations, labels: int, c: float
) -> tuple[Float[Tensor, "label unit"], Float[Tensor, "label unit"]]:
    """Return the size of each unit's weight in the probe of each label, and its median there."""
    scaled, scores, medians = _scaled(of_site.values), [], []
    for number in range(labels):
        own = of_site.of(number)
        scores.append(l1_logistic(scaled, own, c=c)[0].abs())
        is_low = torch.zeros(scaled.shape[1], dtype=torch.bool)
        medians.append(stored(of_site.values[own], is_low, "median"))
    return torch.stack(scores), torch.stack(medians)


def _chosen(
    label: str,
    score: Float[Tensor, " unit"],
    median: Float[Tensor, " unit"],
    choice: Choice | None,
    c: float,
) -> tuple[Tensor, ...]:
    """Return the units that have a weight, or the best of them, with the sizes and their medians.

    Raises:
        ArgumentError: There is none.
    """
    units = score.sort(descending=True, stable=True).indices if choice is None else choice.best(score)
    units = units[score[units] > 0]
    if not len(units):
        raise ArgumentError(f"no unit has a weight for {label} with c={c:g}; raise c, k or share")
    return units, score[units], median[units]


def _scaled(values: Float[Tensor, "sentence unit"]) -> Float[Tensor, "sentence unit"]:
    """Return values of mean 0 and variance 1 per unit; 0 where all are equal."""
    centred = values.double() - values.double().mean(dim=0)
    deviation = centred.square().mean(dim=0).sqrt()
    return torch.where(deviation > 0, centred / deviation.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
