"""The means that centre a language: taken off where a metric reads, each language lies around zero."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.model.map import map_model
from xalign.model.sites import Pool
from xalign.scores import DEFAULT_METRICS, METRICS, NeuronSite, checked_metrics, readings_of
from xalign.steering.mean_difference import mean_difference
from xalign.units.language_vector import LanguageVector


def language_means(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    pool: Pool = "weighted",
    nas: NeuronSite = "gate",
    nav: NeuronSite = "inner",
    **options: Any,
) -> dict[str, list[LanguageVector]]:
    """Each language's mean of everything that some metrics read, for `measure(..., subtract=)`.

    A language shifts all its sentences the same way; without that shift they compare by what they say. The
    run itself is not touched.

    Args:
        model: The model; it is only looked at.
        tokenizer: Its tokenizer.
        texts: Language -> sentences, the pivot's too; others than are measured.
        metrics: As in `measure`.
        pool: As in `measure`.
        nas: As in `measure`.
        nav: As in `measure`.
        **options: `pool_special_tokens`, `token_budget`, `site_bytes` and `layout` of `responses`.

    Returns:
        Language -> a vector per state that is read.

    Reference:
        Libovický et al. (2020), On the Language Neutrality of Pre-trained Multilingual Representations, §3,
        who centre sentence embeddings by language.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> means = language_means(model, tokenizer, texts, ["nasca"])
        >>> report = measure(model, tokenizer, "bundled", ["nasca"], subtract=means)
    """
    metrics = checked_metrics(metrics)
    model_map = map_model(model, options.get("layout"))
    readings = readings_of(model_map, pool=pool, nas=nas, nav=nav, include_embedding=True)
    means: dict[str, list[LanguageVector]] = {label: [] for label in texts}
    for source in dict.fromkeys(METRICS[metric][0] for metric in metrics):
        read = readings[source]
        options |= {"state": read[0].state, "pool": pool}
        sites = [reading.site for reading in read]
        found = mean_difference(model, tokenizer, texts, sites, from_others=False, **options)
        for label, vector in found.items():
            means[label].append(vector)
    return means
