"""Language neurons: those that fire for few languages, found in text by LAPE."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.finding.activations import check_options, check_texts
from xalign.finding.label_sums import label_sums
from xalign.finding.method import Method
from xalign.finding.places import Places
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.metrics.lape import Lape, lape
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.units.sharing import kinds_by_reach
from xalign.units.unit_set import UnitSet


@takes_layout
def language_neurons(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    *,
    share: float = 0.01,
    bar: float = 0.95,
    penalty: float | Literal["auto"] | None = None,
    **options: Any,
) -> UnitSet:
    """Find the neurons that fire for few languages, each listed under every language that fires it.

    A neuron fires at a token if its activation is > 0. It is counted, stored and later written at one place,
    the gate before its activation function, where 0 silences it (for SiLU, GELU and ReLU). Tokens are counted
    exactly, so that neurons which fire equally often are equal. Its value is the mean of the gate over the
    language's tokens. Its score is LAPE's with the sign reversed, so that higher is better.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the papers use 100 million tokens of each.
        share: The share of all neurons to select, for all languages together.
        bar: Which quantile of all probabilities a language must exceed to have a neuron.
        penalty: λ of the penalised score, or `"auto"`; plain LAPE if None.
        **options: `pool_special_tokens`, `truncate`, `source_codes`, `token_budget`, `site_bytes` and
            `experts` of `activations`.

    Returns:
        Per label its neurons, the best first, each with its kind: `specific` to the one label that fires it,
        `related`, or `general` to all. A label may have none.

    Raises:
        ArgumentError: Fewer than two labels, or as in `lape`.

    Reference:
        Tang et al. (2024), Language-Specific Neurons, and as in `lape`.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = language_neurons(model, tokenizer, texts, share=0.1)
        >>> {str(row.site) for row in units} <= {"0.gate", "1.gate", "2.gate", "3.gate"}
        True
    """
    check_texts(texts, least=2)
    check_options("language_neurons", options)
    warn_about_shared_texts(texts)
    sums = label_sums(model, tokenizer, texts, **options)
    found = lape(torch.cat([one.rates for one in sums], dim=1), share=share, bar=bar, penalty=penalty)
    settings = {"share": share, "bar": bar, "penalty": found.penalty} | options
    gates = {one.site: one.means for one in sums}
    return _units(list(texts), found, gates, origin_of(model, texts, "lape", settings))


LAPE = Method(
    "lape", language_neurons, "neurons that fire for few languages", sets=("sites", "pool", "state")
)


def _units(
    labels: Sequence[str],
    found: Lape,
    gates: Mapping[Site, Float[Tensor, "label unit"]],
    provenance: Mapping[str, Any],
) -> UnitSet:
    """Return the neurons that LAPE selected, under each label that fires them."""
    places = Places({site: values.shape[1] for site, values in gates.items()})
    values = torch.cat(list(gates.values()), dim=1)
    kinds = torch.from_numpy(kinds_by_reach(found.reach.numpy(), len(labels)))
    own = [found.neurons_of(number) for number in range(len(labels))]
    chosen = [
        (units, -found.score[units], values[number, units], kinds[units]) for number, units in enumerate(own)
    ]
    return places.unit_set(labels, chosen, provenance)
