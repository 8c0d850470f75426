"""Language vectors: by how much a language's states differ from those of the others, on average."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.finding.activations import Sites, activations, check_options, check_texts, site_names, sites_of
from xalign.finding.provenance import origin_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import PATH_KINDS, Kind, Site
from xalign.model.inputs_for import Processing
from xalign.model.write import Edit, write
from xalign.pairs.audio import Audio
from xalign.units.language_vector import LanguageVector

Vectors = dict[Site, Tensor]
_WITHIN_A_BLOCK: tuple[Kind, ...] = (
    *("attn_out", "gate", "act", "inner", "router", "expert_gate", "expert_inner", "mlp_out", "hidden"),
)


@takes_layout
def mean_difference(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites = "hidden",
    *,
    from_others: bool = True,
    block_by_block: bool = False,
    **options: Any,
) -> dict[str, LanguageVector]:
    """Return a vector per language and site: the mean of its sentences' states minus that of the others'.

    Adding it moves a state towards the language; what all languages share is not in it. The others' mean is
    the mean of their means, so that each language counts the same.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Label -> sentences, at least two labels; ideally the same meanings in each.
        sites: Where: a kind (`"hidden"`: every state of the residual stream), a site, or a list of these.
        from_others: Subtract the others' mean. If False, a vector is the language's own mean, and subtracting
            it centres the language.
        block_by_block: With `from_others=False`, take each site's mean while the vectors of the sites before
            it are subtracted. Use these vectors to subtract all at once in a running model: vectors taken
            from the unedited model would subtract the same shift again and again.
        **options: `pool` (`"weighted"` by default, as in `measure`), `state`, `pool_special_tokens`,
            `truncate`, `token_budget`, `site_bytes` and `experts` of `activations`.

    Returns:
        Label -> vector.

    Raises:
        ArgumentError: Fewer than two labels with `from_others`, or `block_by_block` with vectors or sites
            that it cannot subtract.

    Reference:
        Difference of means as in Marks and Tegmark (2024), The Geometry of Truth; of languages, CLaS-Bench
        (2026), where it steers better than neurons do.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> mean_difference(model, tokenizer, texts, "2.hidden")["deu_Latn"]
        LanguageVector(deu_Latn at 2.hidden)
    """
    _check_switches(options, from_others=from_others, block_by_block=block_by_block)
    check_texts(texts, least=2 if from_others else 1)
    options = {"pool": "weighted", "state": "value"} | options
    settings = {"sites": site_names(sites), "from_others": from_others, "block_by_block": block_by_block}
    origin = origin_of(model, texts, "mean_difference", settings | options)
    if block_by_block:
        if from_others or options["state"] != "value":
            raise ArgumentError("block_by_block=True takes from_others=False and state='value'")
        found = {
            label: _while_subtracted(model, tokenizer, {label: texts[label]}, sites, options)
            for label in texts
        }
    else:
        found = _differences(model, tokenizer, texts, sites, from_others, options)
    state, pool = options["state"], options["pool"]
    return {label: LanguageVector(label, vectors, origin, state, pool) for label, vectors in found.items()}


def _check_switches(options: Mapping[str, Any], **switches: object) -> None:
    check_options("mean_difference", options)
    for name, value in switches.items():
        boolean(name, value)


def _differences(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites,
    from_others: bool,
    options: Mapping[str, Any],
) -> dict[str, Vectors]:
    """Return per label the vector of each site, all taken from the same unedited model."""
    found: dict[str, Vectors] = {label: {} for label in texts}
    for of_site in activations(model, tokenizer, texts, sites, **options):
        means = torch.stack(
            [of_site.values[of_site.of(number)].double().mean(dim=0) for number in range(len(texts))]
        )
        others = (means.sum(dim=0) - means) / (len(texts) - 1) if from_others else torch.zeros_like(means)
        for vectors, difference in zip(found.values(), means - others, strict=True):
            vectors[of_site.site] = difference.float()
    return found


def _while_subtracted(
    model: nn.Module,
    tokenizer: Processing,
    texts: Mapping[str, Sequence[str | Audio]],
    sites: Sites,
    options: Mapping[str, Any],
) -> Vectors:
    """Return one label's mean at each site, taken while the means of the sites before it are subtracted."""
    found: Vectors = {}
    for site in sorted(sites_of(model, map_model(model), sites), key=_order):
        before = {earlier: Edit("add", -vector) for earlier, vector in found.items()}
        with write(model, before) if before else nullcontext():
            (of_site,) = activations(model, tokenizer, texts, site, **options)
        found[site] = of_site.values.double().mean(dim=0).float()
    return found


def _order(site: Site) -> tuple[float, int]:
    """Return a key that sorts sites as a forward passes them."""
    if site.kind in PATH_KINDS:
        raise ArgumentError(
            f"block_by_block=True takes sites of blocks; where {site} stands among them is not known"
        )
    ends = {"embed": -1.0, "final": math.inf}
    block = float(site.layer) if isinstance(site.layer, int) else ends[str(site.layer)]
    return block, _WITHIN_A_BLOCK.index(site.kind)
