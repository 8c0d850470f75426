"""Language vectors: by how much a language's states differ from those of the others, on average."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.model.sites import Site
from xalign.steering.origin import origin_of
from xalign.steering.responses import Sites, check_texts, responses
from xalign.units.language_vector import LanguageVector


def mean_difference(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites = "hidden",
    *,
    from_others: bool = True,
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
        **options: `pool` (`"weighted"` by default, as in `measure`), `pool_special_tokens`, `token_budget`,
            `site_bytes` and `layout` of `responses`.

    Returns:
        Label -> vector.

    Raises:
        ArgumentError: Fewer than two labels where the others' mean is taken away.

    Reference:
        Difference of means as in Marks and Tegmark (2024), The Geometry of Truth; of languages, CLaS-Bench
        (2026), where it steers better than neurons do.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> vectors = mean_difference(model, tokenizer, texts, "2.hidden")
        >>> vectors["deu_Latn"]
        LanguageVector(deu_Latn at 2.hidden)
    """
    check_texts(texts)
    labels = list(texts)
    if from_others and len(labels) < 2:
        raise ArgumentError(f"texts has one label, {labels[0]}; give others, or pass from_others=False")
    options = {"pool": "weighted"} | options
    found: list[dict[Site, Tensor]] = [{} for _ in labels]
    for answers in responses(model, tokenizer, texts, sites, **options):
        means = torch.stack(
            [answers.values[answers.of(number)].double().mean(dim=0) for number in range(len(labels))]
        )
        others = (means.sum(dim=0) - means) / (len(labels) - 1) if from_others else torch.zeros_like(means)
        for vectors, difference in zip(found, means - others, strict=True):
            vectors[answers.site] = difference.float()
    settings = {"sites": str(sites), "from_others": from_others} | options
    origin = origin_of(model, texts, "mean_difference", settings)
    return {
        label: LanguageVector(label, vectors, origin) for label, vectors in zip(labels, found, strict=True)
    }
