"""Language-specific, language-related and general neurons by layer, and the stages of depth they suggest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import known_options
from xalign.errors import ArgumentError
from xalign.finding.activations import check_texts
from xalign.finding.label_sums import label_sums
from xalign.finding.provenance import origin_of, warn_about_shared_texts
from xalign.metrics.depth_stages import depth_stages
from xalign.metrics.lape import Lape, lape
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.inputs_for import Processing
from xalign.probing.findings import Findings
from xalign.schema import Fields

_OPTIONS = ("pool_special_tokens", "truncate", "source_codes", "token_budget", "site_bytes", "experts")


class _Row(Fields):
    layer: int
    neurons: int
    specific: int
    related: int
    general: int
    stage: str


@dataclass(frozen=True)
class NeuronKinds(Findings):
    """What `neuron_kinds` found: a row per layer.

    Columns: `layer`; `neurons`, how many it has; `specific` and `related`, how many of them are among the
    neurons selected for languages and fire for one language, or for several; `general`, how many of all fire
    for every language; `stage`, one of the four stages of depth, empty where none can be told. Stages are a
    heuristic.

    `about["languages"]` says for each language how many specific and related neurons it has, and `about` what
    the bar and the penalty came to.
    """

    kind: ClassVar[str] = "xalign.NeuronKinds"
    row: ClassVar[type[Fields]] = _Row
    shown: ClassVar[tuple[str, ...]] = ("layer", "neurons", "specific", "related", "general", "stage")

    def stages(self) -> dict[str, range] | None:
        """Return stage -> its layers, as `depth_stages` divides them; None where they cannot be told."""
        counts = [(row["specific"] + row["related"], row["general"]) for row in self.rows]
        if not all(any(column) for column in zip(*counts, strict=True)):
            return None
        return depth_stages(*(list(column) for column in zip(*counts, strict=True)))


@takes_layout
def neuron_kinds(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str]],
    *,
    prompts: Mapping[str, Sequence[str]] | None = None,
    share: float = 0.01,
    bar: float = 0.95,
    penalty: float | Literal["auto"] | None = "auto",
    **options: Any,
) -> NeuronKinds:
    """Count, by layer, the neurons that fire for one language, for several and for all.

    A neuron fires at a token whose gate, after the activation function, is above 0. The probability of firing
    is taken over all tokens of a language; with `prompts`, over those of the answers alone, by subtracting
    what fires for the prompts. Specific and related neurons are those among the `share` with the lowest
    penalised entropy (see `lape`), by how many languages exceed the bar; general ones are counted among all
    neurons, since none is selected.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences, at least two languages; with `prompts`, prompts with their answers.
        prompts: Language -> the prompt that each of the texts begins with.
        share: The share of all neurons to select; .01 in the paper.
        bar: Which quantile of all probabilities a language must exceed to have a neuron.
        penalty: λ of the penalised score, `"auto"` as in the paper, or None for plain LAPE.
        **options: `pool_special_tokens`, `truncate`, `source_codes`, `token_budget`, `site_bytes` and
            `experts` of `activations`.

    Returns:
        A row per layer.

    Raises:
        ArgumentError: Fewer than two languages, as in `lape`, or prompts that do not begin the texts.

    Reference:
        Zhang et al. (2025), How does Alignment Enhance LLMs' Multilingual Capabilities?, arXiv 2505.21505.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> found = neuron_kinds(model, tokenizer, texts, share=0.1)
        >>> sorted(found.about["languages"])
        ['deu_Latn', 'eng_Latn']
    """
    check_texts(texts, least=2)
    known_options("neuron_kinds", options, _OPTIONS)
    warn_about_shared_texts(texts)
    sums = partial(label_sums, model, tokenizer, with_totals=False, **options)
    layers, rates = _rates(sums, texts, None if prompts is None else checked_beginnings(texts, prompts))
    found = lape(torch.cat(rates, dim=1), share=share, bar=bar, penalty=penalty)
    of_neuron = torch.cat([torch.full((one.shape[1],), at) for at, one in zip(layers, rates, strict=True)])
    rows = _rows(found, of_neuron, len(texts))
    settings = {"share": share, "bar": bar, "penalty": found.penalty, **options}
    about = origin_of(model, texts, "neuron_kinds", settings)
    own = {label: _counts(found, number, len(texts)) for number, label in enumerate(texts)}
    return NeuronKinds(tuple(rows), about | {"threshold": found.bar, "languages": own})


def checked_beginnings(
    texts: Mapping[str, Sequence[str]], prompts: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[str]]:
    """Return prompts, and refuse those that do not begin the texts.

    Raises:
        ArgumentError: Other languages, other numbers of prompts, or a text that does not begin with its own.

    Example:
        >>> list(checked_beginnings({"en": ["Q: 1? A: 1"]}, {"en": ["Q: 1?"]}))
        ['en']
    """
    check_texts(prompts, name="prompts")
    if list(prompts) != list(texts):
        raise ArgumentError(f"prompts has {', '.join(prompts)}, and texts has {', '.join(texts)}; give both")
    for label, own in texts.items():
        if len(own) != len(prompts[label]):
            raise ArgumentError(f"prompts[{label!r}] holds {len(prompts[label])}, for {len(own)} texts")
        for row, (text, prompt) in enumerate(zip(own, prompts[label], strict=True)):
            if not text.startswith(prompt) or text == prompt:
                raise ArgumentError(
                    f"texts[{label!r}], entry {row}, is no prompt with an answer behind it: a text must "
                    "begin with its prompt, and go on"
                )
    return prompts


def _rates(
    sums: "partial[Any]", texts: Mapping[str, Sequence[str]], prompts: Mapping[str, Sequence[str]] | None
) -> tuple[list[int], list[Float[Tensor, "language neuron"]]]:
    """Return per site its layer, and the share of a language's tokens at which each neuron fires."""
    layers, rates = [], []
    before = None if prompts is None else sums(texts=prompts)
    for at, of_site in enumerate(sums(texts=texts)):
        counts, tokens = of_site.fires, of_site.tokens
        if before is not None:
            # Where a tokenizer joins prompt and answer, a neuron may fire less often than for the prompt.
            counts = (counts - before[at].fires).clamp_min(0)
            tokens = (tokens - before[at].tokens).clamp_min(1)
        layers.append(int(str(of_site.site.layer)))
        rates.append((counts / tokens.unsqueeze(1)).clamp_max(1.0))
    return layers, rates


def _rows(found: Lape, layer: Tensor, languages: int) -> list[dict[str, Any]]:
    """Return a row per layer."""
    chosen = torch.zeros(len(layer), dtype=torch.bool)
    chosen[found.chosen] = True
    reach = found.reach
    kinds = {
        "specific": chosen & (reach == 1),
        "related": chosen & (reach > 1) & (reach < languages),
        "general": reach == languages,
    }
    rows = []
    for at in sorted(set(layer.tolist())):
        own = layer == at
        counts = {name: int((mask & own).sum()) for name, mask in kinds.items()}
        rows.append({"layer": at, "neurons": int(own.sum()), **counts, "stage": ""})
    stages = NeuronKinds(rows).stages() or {}
    names = {number: name for name, numbers in stages.items() for number in numbers}
    return [row | {"stage": names.get(number, "")} for number, row in enumerate(rows)]


def _counts(found: Lape, language: int, languages: int) -> dict[str, int]:
    reach = found.reach[found.neurons_of(language)]
    return {"specific": int((reach == 1).sum()), "related": int(((reach > 1) & (reach < languages)).sum())}
