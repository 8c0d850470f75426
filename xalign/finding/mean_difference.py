"""Language vectors: by how much a language's states differ from those of the others, on average."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, activations, check_texts, named, sites_of
from xalign.finding.origin import origin_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.write import Edit, write
from xalign.units.language_vector import LanguageVector


@takes_layout
def mean_difference(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites = "hidden",
    *,
    from_others: bool = True,
    block_by_block: bool = False,
    **options: Any,
) -> dict[str, LanguageVector]:
    """Per language a vector at each site: the mean of its sentences' states less that of the others'.

    Adding it moves a state towards the language; what is common to all languages is not in it. The others'
    mean is that of their means, each language counting the same.

    Args:
        model: The model; it is only looked at.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; best the same meanings in each.
        sites: Where: a kind (`"hidden"`: every state of the residual stream), a site, or a list of these.
        from_others: Off, the vector is the language's own mean, which subtracted centres the language.
        block_by_block: With `from_others` off, takes each site's mean while the vectors of the sites before
            it are subtracted: the ones to subtract all at once in a running model, where a vector taken from
            the unedited model would be subtracted again and again.
        **options: `pool` (`"weighted"` by default, as in `measure`), `state`, `pool_special_tokens`,
            `token_budget` and `site_bytes` of `activations`.

    Returns:
        Label -> vector.

    Raises:
        ArgumentError: Fewer than two labels where the others' mean is taken away, or `block_by_block` of
            what cannot be subtracted.

    Reference:
        Difference of means as in Marks and Tegmark (2024), The Geometry of Truth; of languages, CLaS-Bench
        (2026), where it steers better than neurons do.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> vectors = mean_difference(model, tokenizer, texts, "2.hidden")
        >>> vectors["deu_Latn"]
        LanguageVector(deu_Latn at 2.hidden)
    """
    check_texts(texts, least=2 if from_others else 1)
    labels = list(texts)
    options = {"pool": "weighted", "state": "value"} | options
    if block_by_block and (from_others or options["state"] != "value"):
        raise ArgumentError("block_by_block=True takes from_others=False and state='value'")
    settings = {"sites": named(sites), "from_others": from_others, "block_by_block": block_by_block} | options
    origin = origin_of(model, texts, "mean_difference", settings)
    found: list[dict[Site, Tensor]] = [{} for _ in labels]

    def vector_of(number: int) -> LanguageVector:
        return LanguageVector(labels[number], found[number], origin, options["state"], options["pool"])

    if block_by_block:
        for site in sorted(sites_of(model, map_model(model), sites), key=_depth):
            for number, label in enumerate(labels):
                below = {lower: Edit("add", -vector) for lower, vector in found[number].items()}
                with nullcontext() if not below else write(model, below):
                    (site_activations,) = activations(
                        model, tokenizer, {label: texts[label]}, site, **options
                    )
                found[number][site] = site_activations.values.double().mean(dim=0).float()
        return {label: vector_of(number) for number, label in enumerate(labels)}
    for site_activations in activations(model, tokenizer, texts, sites, **options):
        means = torch.stack(
            [
                site_activations.values[site_activations.of(number)].double().mean(dim=0)
                for number in range(len(labels))
            ]
        )
        others = (means.sum(dim=0) - means) / (len(labels) - 1) if from_others else torch.zeros_like(means)
        for vectors, difference in zip(found, means - others, strict=True):
            vectors[site_activations.site] = difference.float()
    return {label: vector_of(number) for number, label in enumerate(labels)}


def _depth(site: Site) -> tuple[float, int]:
    """Where a site stands in a forward."""
    if site.kind == "linear":
        raise ArgumentError(f"block_by_block=True takes sites of blocks, and {site} says not where it stands")
    block = {"embed": -1, "final": math.inf}.get(str(site.layer), site.layer)
    return float(block or 0), ("attn_out", "gate", "inner", "mlp_out", "hidden").index(site.kind)
