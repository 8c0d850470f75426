"""Expert units by AUROC: as those by average precision, but the share of positives does not matter."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xalign.finding.activations import Sites, activations, check_options, check_texts, site_names
from xalign.finding.choice import choose_by
from xalign.finding.detectors import Detectors, Ends, Value
from xalign.finding.method import Method
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.metrics.auroc import auroc
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.unit_set import UnitSet

_OF_CONSTANT = "their AUROC is ½"


@takes_layout
def expert_auroc(
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
    """Find the units with the largest area under the ROC curve (AUROC) as detectors of each language.

    It is `expert_ap` with another score. AUROC weighs every pair of a positive and a negative sentence the
    same, whereas average precision stresses the sentences that score highest. AUROC of a random unit is ½
    however many languages there are.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the others' sentences are a label's negatives.
        sites: Where to look: a kind (`"inner"`: the neurons of every block), a site, or a list of these.
        share: Take this share of all units for each label; .02 without `k` and `threshold`.
        k: Take this many for each label.
        threshold: Take those whose score is at least this.
        ends: Which end of the activations indicates the language, as in `expert_ap`.
        value: What is stored to set the unit to, as in `expert_ap`.
        **options: `pool` (`"max"` by default, as in the paper), `state`, `pool_special_tokens`, `truncate`,
            `token_budget`, `site_bytes` and `experts` of `activations`.

    Returns:
        Per label its units, the best first; of equal ones the lower site and index.

    Raises:
        ArgumentError: Fewer than two labels, a wrong choice, or a label that no unit would be chosen for.

    Reference:
        Suau et al. (2024), Whispering Experts: Neural Interventions for Toxicity Mitigation, §3.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> expert_auroc(model, tokenizer, texts, k=5)
        UnitSet(eng_Latn 5, deu_Latn 5)
    """
    check_texts(texts, least=2)
    check_options("expert_auroc", options)
    choice, options = choose_by(share=share, k=k, threshold=threshold), {"pool": "max"} | options
    detectors = Detectors(list(texts), auroc, ends, value, constant=_OF_CONSTANT)
    warn_about_shared_texts(texts)
    for of_site in activations(model, tokenizer, texts, sites, **options):
        detectors.add(of_site)
    settings = {"sites": site_names(sites), choice.by: choice.amount, "ends": ends, "value": value} | options
    return detectors.chosen(choice, origin_of(model, texts, "expert_auroc", settings))


EXPERT_AUROC = Method(
    "expert_auroc", expert_auroc, "the same as expert_ap by AUROC, which does not depend on how many others"
)
