"""`language_vectors`: a direction per language and site, by any aggregator, from paired or unpaired texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.finding.activations import Activations, Sites, activations, check_options, check_texts, site_names
from xalign.finding.aggregators import AGGREGATORS, AggregateFn, Aggregator, resolve_aggregator
from xalign.finding.provenance import origin_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Site
from xalign.model.inputs_for import Processing
from xalign.pairs.audio import Audio
from xalign.pairs.languages import match_language
from xalign.units.language_vector import LanguageVector

Vectors = dict[Site, Tensor]


@takes_layout
def language_vectors(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "hidden",
    *,
    aggregate: str | Aggregator | AggregateFn = "mean",
    against: str | None = None,
    paired: bool | None = None,
    **options: Any,
) -> dict[str, LanguageVector]:
    """Return a vector per language and site: a direction from other sentences' states to its own.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels.
        sites: Where: a kind (`"hidden"`: every state of the residual stream), a site, or a list of these.
        aggregate: How the states of two sides become one direction: `"mean"`, the difference of means;
            `"pca"`, the principal direction of the differences of pairs; `"pca_diff"`, the same after
            centring; `"logistic"`, that of a probe; an `Aggregator`; or a function (positive [sentence,
            width], negative) -> direction [width]. All but `"mean"` have length 1: find a strength for them.
        against: The label that is the negative side of all others, such as the pivot; it gets no vector. If
            None, the sentences of all other labels.
        paired: Whether sentence i of one label translates sentence i of another. If None, only if the
            aggregator needs pairs. With pairs, each sentence counts once for every other label.
        **options: `pool` (`"last"` by default: the last token), `state`, `pool_special_tokens`, `truncate`,
            `token_budget`, `site_bytes` and `experts` of `activations`.

    Returns:
        Label -> vector.

    Raises:
        ArgumentError: Fewer than two labels, an unknown `against` or `aggregate`, or unequal numbers of
            sentences where pairs are needed.
        ModelError: No direction comes out at a site.

    Reference:
        Rimsky et al. (2024), Steering Llama 2 via Contrastive Activation Addition.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> language_vectors(model, tokenizer, texts, "2.hidden", aggregate="pca", against="eng_Latn")
        {'deu_Latn': LanguageVector(deu_Latn at 2.hidden)}
    """
    check_texts(texts, least=2)
    check_options("language_vectors", options)
    aggregator = resolve_aggregator(aggregate, AGGREGATORS)
    is_paired = aggregator.needs_pairs if paired is None else boolean("paired", paired)
    negative = _checked(texts, aggregator, against, is_paired=is_paired)
    options = {"pool": "last", "state": "value"} | options
    found: dict[str, Vectors] = {label: {} for label in texts if label != negative}
    for of_site in activations(model, tokenizer, texts, sites, **options):
        for label, vectors in found.items():
            sides = _sides(of_site, list(texts), label, negative, is_paired=is_paired)
            vectors[of_site.site] = aggregator(*sides).float()
    settings = {"sites": site_names(sites), "aggregate": aggregator.name, "against": negative}
    origin = origin_of(model, texts, "language_vectors", settings | {"paired": is_paired} | options)
    how = origin, options["state"], options["pool"]
    return {label: LanguageVector(label, vectors, *how) for label, vectors in found.items()}


def _checked(
    texts: Mapping[str, Sequence[str | Audio]], aggregator: Aggregator, against: object, *, is_paired: bool
) -> str | None:
    """Return the label that is the negative side of all, if one is; refuse sides that do not fit."""
    if is_paired:
        _check_equal(texts, aggregator)
    return None if against is None else _known(against, list(texts))


def _known(against: object, labels: Sequence[str]) -> str:
    known = match_language(against, labels) if isinstance(against, str) else None
    if known is None:
        raise ArgumentError(f"against={against!r:.60} must be one of {', '.join(labels)}, or None")
    return known


def _check_equal(texts: Mapping[str, Sequence[str | Audio]], aggregator: Aggregator) -> None:
    counts = {label: len(sentences) for label, sentences in texts.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise ArgumentError(
            f"aggregate={aggregator.name!r} takes pairs, and the labels have different numbers of sentences "
            f"({told}); give translations, line by line, or paired=False and aggregate='mean' or 'logistic'"
        )


def _sides(
    of_site: Activations, labels: Sequence[str], label: str, negative: str | None, *, is_paired: bool
) -> tuple[Tensor, Tensor]:
    """Return the states of a label's sentences and of those on the other side; of pairs, row by row."""
    own = of_site.values[of_site.of(labels.index(label))]
    others = [one for one in labels if one != label] if negative is None else [negative]
    theirs = torch.cat([of_site.values[of_site.of(labels.index(one))] for one in others])
    return (own.repeat(len(others), 1) if is_paired else own), theirs
