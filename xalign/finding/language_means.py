"""Language means: subtracted where a metric reads, they centre each language around zero."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xalign.finding.activations import check_options, check_texts
from xalign.finding.mean_difference import mean_difference
from xalign.measurement.options import NeuronSite, ReadOptions
from xalign.measurement.readings import readings_of
from xalign.measurement.run import DEFAULT_METRICS, Metrics
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Pool
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.renamed import renamed_arguments
from xalign.units.language_vector import LanguageVector


@takes_layout
@renamed_arguments(nas="state_site", nav="value_site")
def language_means(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    metrics: Metrics = DEFAULT_METRICS,
    *,
    pool: Pool = "weighted",
    state_site: NeuronSite = "gate",
    value_site: NeuronSite = "inner",
    **options: Any,
) -> dict[str, list[LanguageVector]]:
    """Return each language's mean of everything that some metrics read, for `measure(..., subtract=)`.

    A language shifts all its sentences the same way. Without that shift, they are compared by their content.
    `measure` subtracts the means from what it has read; the running model is not changed.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences, the pivot's too; other sentences than those to be measured.
        metrics: As in `measure`.
        pool: As in `measure`.
        state_site: As in `measure`.
        value_site: As in `measure`.
        **options: `pool_special_tokens`, `truncate`, `source_codes`, `token_budget`, `site_bytes` and
            `experts` of `activations`.

    Returns:
        Language -> one vector for each state that is read.

    Reference:
        Libovický et al. (2020), On the Language Neutrality of Pre-trained Multilingual Representations, §3,
        who centre sentence embeddings by language.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> means = language_means(model, tokenizer, texts, ["nasca"])
        >>> report = measure(model, tokenizer, "bundled", ["nasca"], subtract=means)
    """
    check_texts(texts)
    check_options("language_means", options)
    read_options = ReadOptions(
        pool=pool,
        state_site=state_site,
        value_site=value_site,
        experts=options.get("experts", "routed"),
    )
    model_map = map_model(model)
    means: dict[str, list[LanguageVector]] = {label: [] for label in texts}
    for source in dict.fromkeys(metric.reads for metric in resolve_metrics(metrics, METRICS)):
        read = readings_of(model_map, source, read_options)
        options |= {"state": read[0].state, "pool": pool}
        sites = [reading.site for reading in read]
        found = mean_difference(model, tokenizer, texts, sites, from_others=False, **options)
        for label, vector in found.items():
            means[label].append(vector)
    return means
