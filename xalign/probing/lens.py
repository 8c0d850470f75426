"""The logit lens: what a model would predict if its last block had given the state of another layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Site
from xalign.model.batches import Batch
from xalign.model.distributed import is_sharded
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.run import is_pair, run
from xalign.model.visit import visit
from xalign.model.wrapped import base_model_of

_CHUNK = 2**25  # logits held at a time
_ERROR, _LIKELY = 5e-3, 10.0  # nats; less likely tokens are not compared


@dataclass(frozen=True, slots=True)
class Lens:
    """What some prompts make a model predict, layer by layer.

    Attributes:
        rows: The numbers of the prompts.
        layers: `"embed"`, then the numbers of the blocks.
        log_probability: Of every token after the prompt, in nats.
    """

    rows: tuple[int, ...]
    layers: tuple[str, ...]
    log_probability: Float[Tensor, "prompt layer token"]


@takes_layout
def logit_lens(
    model: nn.Module, tokenizer: Any, prompts: Sequence[str], *, token_budget: int = 4096
) -> Iterator[Lens]:
    """Yield the next-token distribution that each layer's state at the end of a prompt leads to.

    In a second forward pass of one token each, the states replace the output of the last block, so that the
    model's own final norm, head, scaling and capping are applied, whatever they are. A check makes sure that
    the state of the last block gives the model's own prediction again.

    Args:
        model: A causal language model; it is only read.
        tokenizer: Its tokenizer.
        prompts: The prompts. Tokens that the tokenizer adds after them are left out.
        token_budget: The most tokens of one forward, padding included.

    Yields:
        The distributions of some prompts at a time.

    Raises:
        ModelError: A model without a language-model head, such as an encoder, or one whose prediction is not
            made of its last block's output alone.
        ArgumentError: An empty prompt, or one longer than the context.

    Reference:
        nostalgebraist (2020), interpreting GPT: the logit lens; Wendler et al. (2024), Do Llamas Work in
        English?

    Example:
        >>> (found,) = logit_lens(model, tokenizer, ["It rains", "Good night"])
        >>> found.layers[:2], found.log_probability.shape
        (('embed', '0'), torch.Size([2, 4, 500]))
    """
    token_budget = whole_number("token_budget", token_budget, least=1)
    model_map, prompts = checked_causal(model), prompt_list(prompts)
    inputs = Inputs(model, tokenizer)
    encoded = inputs.encode(prompts, "", TextOptions(pool_special_tokens=False))
    lines = []
    for ids, own in zip(encoded.ids, encoded.pooled, strict=True):
        end = max(at for at, is_own in enumerate(own) if is_own) + 1
        lines.append((ids[:end], own[:end]))
    sites = model_map.sites("hidden")[:-1]
    layers = tuple(str(site.layer) for site in sites)
    for batch in inputs.batches(lines, token_budget=token_budget):
        with observing(model):
            states, known = _states(model, batch, sites)
        whole, width = _whole_line(batch), max(1, _CHUNK // (len(sites) * len(known)))
        for some in torch.split(torch.arange(len(batch.rows)), width):
            with observing(model):
                found = _predicted(model, states[some], sites[-1])
            if whole in some:
                _check(found[int((some == whole).nonzero()), -1], known.log_softmax(dim=-1), model)
            rows = [(at, row) for at, line in enumerate(some.tolist()) for row in batch.rows[line]]
            yield Lens(tuple(row for _, row in rows), layers, found[[at for at, _ in rows]])


def prompt_list(prompts: Any) -> list[str]:
    """Return prompts as a list.

    Raises:
        ArgumentTypeError: No list of texts.
        ArgumentError: An empty list, or an empty prompt.

    Example:
        >>> prompt_list(("It rains and",))
        ['It rains and']
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise ArgumentTypeError(f"prompts={prompts!r:.60} must be a list of texts")
    if not prompts or not all(isinstance(one, str) and one.strip() for one in prompts):
        raise ArgumentError("prompts must hold at least one text, and no empty one")
    return list(prompts)


def checked_causal(model: nn.Module) -> ModelMap:
    """Return the map of a causal language model, and refuse others.

    Raises:
        ModelError: An encoder, an encoder–decoder, a model without a head, or one that is split.

    Example:
        >>> checked_causal(model).head[1]
        'lm_head'
    """
    model_map, name = map_model(model), type(base_model_of(model)).__name__
    _ = model_map.head
    can_generate = getattr(base_model_of(model), "can_generate", lambda: True)
    if is_pair(model) or not can_generate():
        raise ModelError(
            f"{name} is no causal language model: its prediction is not made of the state at the end of a "
            "prompt; load one with AutoModelForCausalLM"
        )
    if is_sharded(model):
        raise ModelError(
            "the weights of this model are split between processes; load it whole in one process"
        )
    return model_map


def _whole_line(batch: Batch) -> int:
    """Return a line without padding, whose last logits are those that a model gives."""
    return int(batch.real.all(dim=1).nonzero()[0])


def _states(
    model: nn.Module, batch: Batch, sites: Sequence[Site]
) -> tuple[Float[Tensor, "line layer width"], Float[Tensor, " token"]]:
    """Return the states at the last token of each line, and the logits behind a line without padding."""
    last = batch.real.sum(dim=1) - 1
    lines = torch.arange(len(last))
    seen: dict[Site, Tensor] = {}

    def keeper(site: Site) -> Any:
        return lambda values: seen.__setitem__(site, values[lines, last.to(values.device)].detach())

    with visit(model, {site: keeper(site) for site in sites}):
        logits = run(model, batch).logits
    device = device_of(model)
    states = torch.stack([seen[site].to(device) for site in sites], dim=1)
    return states, logits[_whole_line(batch), -1].double().cpu()


def _predicted(
    model: nn.Module, states: Float[Tensor, "line layer width"], last: Site
) -> Float[Tensor, "line layer token"]:
    """Return what the model predicts of one token each, if its last block had given these states."""
    lines, layers, width = states.shape
    rows = states.reshape(lines * layers, 1, width)
    ones = torch.ones(lines * layers, 1, dtype=torch.long)
    nothing = {"input_ids": torch.zeros_like(ones), "attention_mask": ones}
    batch = Batch(nothing, ones.bool(), tuple((row,) for row in range(len(rows))))
    with visit(model, {last: lambda values: rows.to(values.device, values.dtype)}):
        logits: Tensor = run(model, batch).logits
    return logits[:, -1].float().log_softmax(dim=-1).view(lines, layers, -1).cpu()


def _check(found: Tensor, known: Tensor, model: nn.Module) -> None:
    """Raise an error where the last block's state does not give the model's own prediction."""
    likely = known > known.max() - _LIKELY
    error = max(_ERROR, 8 * torch.finfo(next(model.parameters()).dtype).eps)
    if not bool((found.double() - known)[likely].abs().max() <= 10 * error):
        raise ModelError(
            f"{type(base_model_of(model)).__name__} does not make its prediction of the last block's output "
            "alone, so that the states of other layers cannot be read in its place"
        )
