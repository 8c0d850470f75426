"""`importance`: activation × gradient of every unit, per language; and the layers where it is largest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import known_options, whole_number
from xalign.errors import ArgumentError, ModelError
from xalign.finding.activations import Sites, check_texts, sites_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.batches import Batch
from xalign.model.capture import capture
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.run import is_pair
from xalign.model.visit import visit
from xalign.model.wrapped import base_model_of

_IGNORED = -100
_OPTIONS = ("truncate", "source_codes", "token_budget")
_TOKEN_BUDGET = 8192


@dataclass(frozen=True, slots=True)
class Importance:
    """Activation × gradient of units.

    Attributes:
        labels: The labels.
        values: Site -> per label and unit, the mean over tokens of |a · ∂L/∂a|, in nats.
        means: Site -> per label and unit, the mean of a.
    """

    labels: tuple[str, ...]
    values: dict[Site, Float[Tensor, "label unit"]]
    means: dict[Site, Float[Tensor, "label unit"]]

    @property
    def widths(self) -> dict[Site, int]:
        """Number of units at each site."""
        return {site: values.shape[1] for site, values in self.values.items()}

    @property
    def all_values(self) -> Float[Tensor, "label unit"]:
        """The values of all sites, one after the other."""
        return torch.cat(list(self.values.values()), dim=1)

    @property
    def all_means(self) -> Float[Tensor, "label unit"]:
        """The means of all sites, one after the other."""
        return torch.cat(list(self.means.values()), dim=1)

    @property
    def by_site(self) -> dict[Site, Float[Tensor, " label"]]:
        """Site -> per label the sum over its units."""
        return {site: values.sum(dim=1) for site, values in self.values.items()}

    def important_sites(self, k: int) -> list[Site]:
        """Return the k sites whose sums differ most between labels, by their variance; the largest first.

        Args:
            k: How many; all where there are fewer.
        """
        k = whole_number("k", k, least=1)
        spread = {site: float(sums.var(correction=0)) for site, sums in self.by_site.items()}
        return sorted(spread, key=lambda site: -spread[site])[:k]


@takes_layout
def importance(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    sites: Sites = "inner",
    **options: Any,
) -> Importance:
    """Compute the mean over a language's tokens of |a · ∂L/∂a| for each unit.

    L is the sum of the losses in nats of the tokens that a text predicts, each text by itself. The last token
    of a text, which predicts none, counts in no mean.

    Args:
        model: A causal language model; neither its weights nor their gradients are touched.
        tokenizer: Its tokenizer.
        texts: Label -> texts, of at least two tokens each.
        sites: As in `activations`, but for the experts of a mixture.
        **options: `truncate`, `source_codes` and `token_budget` of `activations`.

    Returns:
        Values and means per site, in float64.

    Raises:
        ArgumentError: A text of one token.
        ModelError: A model that predicts no tokens, or experts of a mixture.

    Reference:
        Molchanov et al. (2017), Pruning Convolutional Neural Networks for Resource Efficient Inference.

    Example:
        >>> texts = {"eng_Latn": ["It rains."], "deu_Latn": ["Es regnet."]}
        >>> found = importance(model, tokenizer, texts)
        >>> found.important_sites(1)[0].kind
        'inner'
    """
    check_texts(texts)
    known_options("importance", options, _OPTIONS)
    budget = options.pop("token_budget", _TOKEN_BUDGET)
    chosen = _sites(model, sites)
    inputs, settings = Inputs(model, tokenizer), TextOptions(**options)
    values: dict[Site, list[Tensor]] = {site: [] for site in chosen}
    means: dict[Site, list[Tensor]] = {site: [] for site in chosen}
    with observing(model) as before:
        for label, sentences in texts.items():
            encoded = inputs.encode(sentences, label, settings)
            short = [row for row, ids in enumerate(encoded.ids) if len(ids) < 2]  # noqa: PLR2004
            if short:
                raise ArgumentError(f"text {short[0]} of {label} has one token, which predicts none")
            totals, count = _Totals(), 0
            for batch in inputs.batches(encoded.lines, token_budget=budget):
                count += totals.add(model, batch, chosen)
                before.rewind()
            for site in chosen:
                values[site].append(totals.products[site] / count)
                means[site].append(totals.sums[site] / count)
    return Importance(
        tuple(texts),
        {site: torch.stack(rows) for site, rows in values.items()},
        {site: torch.stack(rows) for site, rows in means.items()},
    )


class _Totals:
    """Sums over tokens, site by site."""

    def __init__(self) -> None:
        self.products: dict[Site, Tensor] = {}
        self.sums: dict[Site, Tensor] = {}

    def add(self, model: nn.Module, batch: Batch, sites: Sequence[Site]) -> int:
        """Add a batch, and return at how many tokens something is predicted."""
        # What a line stands for several times counts as often.
        times = torch.tensor([len(rows) for rows in batch.rows], dtype=torch.float64)
        predicts = batch.real[:, 1:] & batch.real[:, :-1]
        weight = times.unsqueeze(1) * predicts
        for site, (values, gradient) in _gradients(model, batch, sites).items():
            of_tokens = weight.to(values.device)
            for totals, found in ((self.products, (values * gradient).abs()), (self.sums, values)):
                summed = torch.einsum("bt,btw->w", of_tokens, found[:, :-1].double()).cpu()
                totals[site] = totals.get(site, 0) + summed
        return int(weight.sum())


def _gradients(
    model: nn.Module, batch: Batch, sites: Sequence[Site]
) -> dict[Site, tuple[Float[Tensor, "batch token width"], Float[Tensor, "batch token width"]]]:
    """Return the values at each site, and the gradient of the sum of the losses with respect to them."""

    def begins(values: Tensor) -> Tensor:
        # A model whose weights are frozen has no graph of its own.
        return values.detach().requires_grad_()

    inputs = batch.to(device_of(model))
    with (
        torch.enable_grad(),
        visit(model, {Site("hidden", "embed"): begins}),
        capture(model, sites) as states,
    ):
        logits = getattr(model(**inputs, use_cache=False), "logits", None)
        if logits is None or logits.shape[:2] != batch.real.shape:
            raise _no_head(model)
        targets = inputs["input_ids"].masked_fill(~batch.real.to(logits.device), _IGNORED)[:, 1:]
        loss = nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), targets, reduction="sum", ignore_index=_IGNORED
        )
        found = torch.autograd.grad(loss, list(states.values()), allow_unused=True, materialize_grads=True)
    if not bool(loss.isfinite()):
        raise ModelError("the loss is NaN or infinite, so that no gradient says anything; measure in float32")
    return {site: (states[site].detach(), one) for site, one in zip(states, found, strict=True)}


def _no_head(model: nn.Module) -> ModelError:
    return ModelError(
        f"{type(base_model_of(model)).__name__} predicts no tokens; load a causal model with its "
        "language-model head"
    )


def _sites(model: nn.Module, sites: Sites) -> list[Site]:
    """Return the sites, refused where they are of experts or the model is no causal language model."""
    if is_pair(model):
        raise ModelError(
            f"{type(base_model_of(model)).__name__} has an encoder; give a causal language model"
        )
    model_map = map_model(model)
    chosen = sites_of(model, model_map, sites, "shared" if model_map.mixtures() else "routed")
    of_experts = [str(site) for site in chosen if model_map.place(site).experts is not None]
    if of_experts:
        raise ModelError(
            f"sites {', '.join(of_experts[:3])} are of routed experts, of which a token runs through a few "
            "only; give sites='mlp_out' or 'hidden', or the method expert_ap"
        )
    return chosen
