"""Language neurons: those that fire for few languages, found in text by LAPE."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.finding.activations import activations, check_texts
from xalign.finding.origin import origin_of, warn_about_shared_texts
from xalign.metrics.lape import lape
from xalign.model.architectures.sites import Site
from xalign.units.unit_set import Unit, UnitSet


def language_neurons(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    *,
    share: float = 0.01,
    bar: float = 0.95,
    penalty: float | Literal["auto"] | None = None,
    **options: Any,
) -> UnitSet:
    """Neurons that fire for few languages, each under every language that fires it.

    A neuron fires at a token if its activation is > 0. It is counted, stored and later written at one place,
    the gate before its activation function, where 0 silences it (for SiLU, GELU and ReLU). Its value is the
    mean of the gate over the language's tokens, its score minus LAPE's, so that higher is better.

    Args:
        model: The model; it is only looked at.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; the papers use 100 million tokens of each.
        share: The share of all neurons to select, for all languages together.
        bar: Which quantile of all probabilities a language must exceed to have a neuron.
        penalty: λ of the penalised score, or `"auto"`; plain LAPE where None.
        **options: `pool_special_tokens`, `token_budget` and `site_bytes` of `activations`.

    Returns:
        Per label its neurons, the best first. A label may have none.

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
    warn_about_shared_texts(texts)
    labels = list(texts)
    places: list[tuple[Site, int]] = []
    fired: list[Tensor] = []
    gates: list[Tensor] = []
    for state, kept in (("active", fired), ("value", gates)):
        for site_activations in activations(
            model, tokenizer, texts, "gate", pool="mean", state=state, **options
        ):  # type: ignore[arg-type]
            # The mean over a language's tokens, from the means over those of each sentence.
            weight = torch.stack(
                [site_activations.of(number) * site_activations.tokens for number in range(len(labels))]
            ).double()
            kept.append(weight @ site_activations.values.double() / weight.sum(dim=1, keepdim=True))
            if kept is fired:
                places += [
                    (site_activations.site, index) for index in range(site_activations.values.shape[1])
                ]
    found = lape(torch.cat(fired, dim=1).clamp(0, 1), share=share, bar=bar, penalty=penalty)
    values = torch.cat(gates, dim=1)
    rows = []
    for number, label in enumerate(labels):
        for at in found.neurons_of(number).tolist():
            site, index = places[at]
            rows.append(Unit(label, site, index, -found.score[at].item(), values[number, at].item()))
    settings = {"share": share, "bar": bar, "penalty": found.penalty} | options
    return UnitSet(tuple(rows), origin_of(model, texts, "lape", settings))
