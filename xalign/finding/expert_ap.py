"""Expert units: those that, each alone, best tell one language's sentences from all others'."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xalign.finding.activations import Sites, activations, check_options, check_texts, site_names
from xalign.finding.choice import choose_by
from xalign.finding.detectors import Detectors, Ends, Value
from xalign.finding.method import Method
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.metrics.average_precision import average_precision
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit_set import UnitSet

_OF_CONSTANT = "their average precision is the share of positives"


@takes_layout
def expert_ap(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "inner",
    *,
    share: float | None = None,
    k: int | None = None,
    threshold: float | None = None,
    ends: Ends = "both",
    value: Value = "median",
    **options: Any,
) -> UnitSet:
    """Find the units with the highest average precision (AP) as detectors of each language.

    A unit's activation for a sentence is its mean over the tokens (`pool="max"`: the largest). As a score it
    ranks a label's sentences against all others. The signs of most sites are arbitrary: `ends="both"` takes
    the better of the AP of the activation and of its negative, `"high"` and `"low"` only one of them.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these.
        share: Take this share of all units for each label; .02 without `k` and `threshold`.
        k: Take this many for each label.
        threshold: Take those whose score is at least this.
        ends: Which end of the activations indicates the language.
        value: What is stored of the activations on the label's own sentences, to set the unit to: `"median"`,
            `"mean"`, or `"p90"`, the 90th percentile (the 10th if the low end indicates the language).
        **options: `pool`, `state`, `pool_special_tokens`, `truncate`, `token_budget`, `site_bytes` and
            `experts` of `activations`.

    Returns:
        Per label its units, the best first; of equal ones the lower site and index. A unit with the same
        activation for every sentence scores chance, the share of positives; a warning counts those chosen.

    Raises:
        ArgumentError: Fewer than two labels, a wrong choice, or a label that no unit would be chosen for.

    Reference:
        Suau et al. (2022), Self-conditioning pre-trained language models. For languages, means and both ends:
        Kojima et al. (2024), On the Multilingual Ability of Decoder-based Pre-trained Language Models.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> expert_ap(model, tokenizer, texts, k=5)
        UnitSet(eng_Latn 5, deu_Latn 5)
    """
    check_texts(texts, least=2)
    check_options("expert_ap", options)
    choice, options = choose_by(share=share, k=k, threshold=threshold), {"pool": "mean"} | options
    detectors = Detectors(list(texts), average_precision, ends, value, constant=_OF_CONSTANT)
    warn_about_shared_texts(texts)
    for of_site in activations(model, tokenizer, texts, sites, **options):
        detectors.add(of_site)
    settings = {"sites": site_names(sites), choice.by: choice.amount, "ends": ends, "value": value} | options
    return detectors.chosen(choice, origin_of(model, texts, "expert_ap", settings))


EXPERT_AP = Method("expert_ap", expert_ap, "units that each tell a language's sentences from all others'")
