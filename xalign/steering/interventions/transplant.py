"""`transplant`: replace a sub-layer's output for one prompt with that of a sub-layer for another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean, whole_number
from xalign.errors import ArgumentError
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.operators import Operator
from xalign.model.operators.operands import PER_SENTENCE
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.rows import rows_edit
from xalign.steering.interventions.same_size import generator_of
from xalign.steering.interventions.token_states import Prompt, token_states

SubLayer = Literal["attn_out", "mlp_out"]
Rows = Float[Tensor, "prompt width"]


def transplant(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Prompt],
    *,
    sub_layer: SubLayer = "mlp_out",
    source_layer: int | None = None,
    target_layer: int = 0,
    compat_alias: bool = False,
) -> Intervention:
    """Replace a sub-layer's output with the output that a sub-layer has for source prompts.

    It is read at `source_layer`, at the last token of the source prompt, and written at `target_layer`, at
    the last token of the prompt only: not at the tokens before it, and not while further tokens are
    generated. At strength 1 the value is replaced; at
    strength s it becomes (1 − s) times its own plus s times the source's.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        sources: The source prompts, in the order of the prompts of the batch that is steered, for example the
            same questions in English. A single source is used for every row of a batch.
        sub_layer: `"attn_out"` or `"mlp_out"`, what attention or the feed-forward network adds to the stream.
        source_layer: The block to read; the last if None.
        target_layer: The block to write.
        compat_alias: Write what the published code writes for attention, where the stored tensor is changed
            in place afterwards: the output of the source's attention plus the input of its block. With it,
            even transplanting a prompt into itself at the same block changes the output.

    Returns:
        An intervention. Its control writes vectors of the same lengths in random directions.

    Raises:
        ArgumentError: `compat_alias` with `mlp_out`, where the published code has no alias.
        ModelError: A block that the model does not have.

    Reference:
        Ye et al. (2024), Exploring Cross-lingual Latent Transplantation, §3, arXiv 2412.12686.

    Example:
        >>> from_english = transplant(model, tokenizer, ["It rains."], source_layer=2, target_layer=1)
        >>> with steer(model, from_english) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        2
    """
    last = map_model(model).n_layers - 1
    source = whole_number("source_layer", last if source_layer is None else source_layer)
    target = whole_number("target_layer", target_layer)
    site = Site(checked_sub_layer(sub_layer, compat_alias=compat_alias), target)
    map_model(model).place(site)
    rows = source_states(model, tokenizer, sources, sub_layer, [source], compat_alias=compat_alias)[source]
    settings = {"sub_layer": sub_layer, "source_layer": source, "target_layer": target}
    origin = origin_of(
        model,
        {"sources": [str(one) for one in sources]},
        "transplant",
        settings | {"compat_alias": compat_alias},
    )
    return transplanted(f"transplant {sub_layer} {source} to {target}", rows, site, origin)


def checked_sub_layer(sub_layer: object, *, compat_alias: bool) -> Any:
    """Return a kind of sub-layer, checked, also together with `compat_alias`.

    Raises:
        ArgumentError: Another kind, or an alias that does not exist.
    """
    if sub_layer not in get_args(SubLayer):
        raise ArgumentError(f"sub_layer={sub_layer!r:.60} must be one of {', '.join(get_args(SubLayer))}")
    if boolean("compat_alias", compat_alias) and sub_layer != "attn_out":
        raise ArgumentError(
            f"compat_alias=True with sub_layer={sub_layer!r}: the published code changes the stored output "
            "of attention only; leave it out, or take sub_layer='attn_out'"
        )
    return sub_layer


def source_states(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Prompt],
    sub_layer: SubLayer,
    layers: Sequence[int],
    *,
    compat_alias: bool = False,
) -> dict[int, Rows]:
    """Return what a transplant writes, from each of some blocks, in one pass over the source prompts."""
    outputs = {layer: Site(sub_layer, layer) for layer in layers}
    inputs = {layer: Site("hidden", layer - 1 if layer else "embed") for layer in layers if compat_alias}
    states = token_states(model, tokenizer, sources, [*outputs.values(), *inputs.values()])
    return {
        layer: states[site] + states[inputs[layer]] if compat_alias else states[site]
        for layer, site in outputs.items()
    }


def transplanted(name: str, rows: Rows, site: Site, origin: Mapping[str, Any]) -> Intervention:
    """Return the intervention that writes row i at the last token of prompt i."""
    return Intervention(
        name,
        partial(_edits, rows, site),
        "last_prompt",
        origin,
        partial(_control, _Control(name, rows, site, origin)),
    )


@dataclass(frozen=True, slots=True)
class _Control:
    name: str
    rows: Rows
    site: Site
    origin: Mapping[str, Any]


def _control(of: _Control, seed: int) -> Intervention:
    noise = torch.randn(of.rows.shape, generator=generator_of(seed, of.name))
    drawn = noise * (of.rows.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True))
    return transplanted(f"{of.name} random {seed}", drawn, of.site, {**of.origin, "method": "random"})


def _edits(rows: Rows, site: Site, strength: float) -> dict[Site, Edit]:
    if strength == 1:
        return {site: rows_edit(rows)}
    if len(rows) == 1:
        return {site: Edit("affine", (1 - strength, strength * rows[0]))}
    return {site: Edit(Operator("mix", partial(_mixed, strength), operand=PER_SENTENCE), rows)}


def _mixed(strength: float, values: Tensor, rows: Tensor) -> Tensor:
    """Return (1 − strength) · values + strength · the row of each sentence."""
    return (1 - strength) * values + strength * rows.unsqueeze(1)
