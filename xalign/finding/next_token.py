"""`NextToken`: how much each neuron raises the log-probability of the next token, at one place of a text."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ModelError
from xalign.finding.frozen_norm import FrozenNorm, freeze_norm
from xalign.model.architectures.map import ModelMap, Place, map_model
from xalign.model.architectures.sites import Site
from xalign.model.distributed import is_sharded
from xalign.model.observe import observing
from xalign.model.placement import device_of
from xalign.model.run import is_pair
from xalign.model.visit import visit
from xalign.model.wrapped import base_model_of

_CHUNK_BYTES = 64 * 2**20
_ERROR = 5e-3
_FINAL = Site("hidden", "final")


@dataclass(frozen=True, slots=True)
class NextToken:
    """What neurons do for one token.

    Attributes:
        token: The id of the token.
        log_probability: The model's, in nats.
        scores: Site -> per neuron, by how much it raises the token's log-probability.
        coefficients: Site -> per neuron, its value at that place.
    """

    token: int
    log_probability: float
    scores: dict[Site, Float[Tensor, " neuron"]]
    coefficients: dict[Site, Float[Tensor, " neuron"]]


def attribute_next_token(model: nn.Module, ids: Any, target: int | None = None) -> NextToken:
    """Compute by how much each neuron raises the log-probability of the token that follows some tokens.

    At the last token, let r be the residual stream before the feed-forward network of a block, m a neuron's
    value and v its column of the down projection. Its score is log p(w | r + m v) − log p(w | r), where p is
    the final norm, with the variance that it has at the true last state, and the language-model head. Scores
    of several neurons do not add up, because of the logarithm.

    Args:
        model: A causal language model.
        ids: Token ids [token].
        target: The id of w; the likeliest token if None.

    Returns:
        Scores and values of all neurons.

    Raises:
        ArgumentError: Ids that are not a list of tokens, or a target that is not a token.
        ModelError: A model that is not a causal language model, a block with a norm after the down
            projection, or a head that is more than a Linear after a norm.

    Reference:
        Nie, Schmid and Schütze (2025), Mechanistic Understanding and Mitigation of Language Confusion in
        English-Centric Large Language Models, after Yu and Ananiadou (2024), and its code.

    Example:
        >>> found = attribute_next_token(model, [1, 20, 30])
        >>> found.scores[Site("inner", 0)].shape
        torch.Size([64])
    """
    model_map = map_model(model)
    blocks = _blocks(model, model_map)
    head, _ = model_map.head
    seen: dict[Site, Tensor] = {}

    def keeper(site: Site) -> Any:
        return lambda values: seen.__setitem__(site, values[0, -1].double())

    last = Site("hidden", model_map.n_layers - 1)
    sites = {site for three in blocks for site in three} | {last, _FINAL}
    given = _checked(ids).to(device_of(model))
    with observing(model), visit(model, {site: keeper(site) for site in sites}):
        logits = model(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits[0, -1]
        dtype, logits = logits.dtype, logits.double()
    with observing(model):
        norm = _frozen(model_map, seen[last], seen[_FINAL])
        known = logits.log_softmax(dim=-1)
        token = int(known.argmax()) if target is None else whole_number("target", target)
        if token >= len(known):
            raise ArgumentError(f"target={token} is no token: the model predicts {len(known)}")
        reader = _Reader(head, norm, token)
        _check_logits(reader.log_probabilities(seen[last]), known, dtype, model)
        scores = {
            inner: reader.scores(seen[hidden] - seen[added], seen[inner], seen[added], model_map.place(inner))
            for inner, added, hidden in blocks
        }
    coefficients = {site: seen[site].cpu() for site in scores}
    return NextToken(token, float(known[token]), scores, coefficients)


def _checked(ids: Any) -> Int[Tensor, "1 token"]:
    """Return token ids as a batch of one line."""
    given = torch.as_tensor(ids)
    if given.dim() != 1 or not len(given) or given.is_floating_point() or given.dtype == torch.bool:
        raise ArgumentError(f"ids={ids!r:.60} must be the token ids of one text, [token], at least one")
    return given.long().unsqueeze(0)


class _Reader:
    """What the head makes of states, with the final norm frozen."""

    def __init__(self, head: nn.Module, norm: FrozenNorm, token: int) -> None:
        self._head, self._norm, self._token = head, norm, token
        self._of_head = next(head.parameters()).dtype

    def logits(self, states: Tensor) -> Tensor:
        """Return the head's logits of normalised states."""
        made: Tensor = self._head(states.to(self._of_head))
        return made.double()

    def log_probabilities(self, state: Tensor) -> Tensor:
        """Return the log-probabilities after a state of the residual stream."""
        return self.logits(self._norm(state)).log_softmax(dim=-1)

    def scores(self, before: Tensor, inner: Tensor, added: Tensor, place: Place) -> Float[Tensor, " neuron"]:
        """Return the score of each neuron of one block.

        Args:
            before: The residual stream without what the network adds.
            inner: The neurons.
            added: What the network adds.
            place: Where the neurons are.

        Raises:
            ModelError: What the network adds is not what its down projection gives.
        """
        down, dtype = place.module, next(place.module.parameters()).dtype
        zero = torch.zeros(1, len(inner), dtype=dtype, device=inner.device)
        nothing = down(zero)[0].double()
        given = down(inner.to(zero.dtype).unsqueeze(0))[0].double()
        if not bool((given - added).norm() <= _tolerance(dtype) * (1 + added.norm())):
            raise ModelError(
                f"{place.path}: what the network adds to the stream is not what its down projection gives (a "
                "norm or a factor stands behind it), so that a neuron's part of it cannot be told; use the "
                "method activation_gradient"
            )
        probability, shift = self.log_probabilities(before).exp(), self.logits(torch.zeros_like(before))
        width = max(1, _CHUNK_BYTES // (8 * len(probability)))
        found = []
        for units in torch.split(torch.arange(len(inner), device=inner.device), width):
            one_hot = torch.zeros(len(units), len(inner), dtype=zero.dtype, device=inner.device)
            one_hot[torch.arange(len(units)), units] = inner[units].to(zero.dtype)
            moved = self.logits(self._norm.scaled(down(one_hot).double() - nothing)) - shift
            # log p(w | r + mv) − log p(w | r), without the difference of two large numbers.
            rest = (probability * moved.expm1()).sum(dim=-1).log1p()
            found.append(moved[:, self._token] - rest)
        return torch.cat(found).cpu()


def _blocks(model: nn.Module, model_map: ModelMap) -> list[tuple[Site, Site, Site]]:
    """Return the sites of neurons, of what they add, and of the block's output, of each block that has them.

    Raises:
        ModelError: An encoder–decoder, a mixture of experts, or blocks with several networks.
    """
    if is_pair(model):
        raise ModelError(
            f"{type(base_model_of(model)).__name__} has an encoder; give a causal language model"
        )
    if is_sharded(model):
        raise ModelError(
            "the weights of this model are split between processes; load it whole in one process"
        )
    if model_map.mixtures():
        raise ModelError(
            f"{model_map.model_type} is a mixture of experts, whose neurons act by turns; use the method "
            "expert_ap"
        )
    found = []
    for inner in model_map.sites("inner"):
        if inner.part:
            raise ModelError(
                f"block {inner.layer} of {model_map.model_type} has several feed-forward networks"
            )
        added = Site("mlp_out", inner.layer)
        factor = model_map.stack().blocks[int(str(inner.layer))].factors.get(model_map.place(added).path)
        if factor is not None:
            raise ModelError(
                f"what block {inner.layer} of {model_map.model_type} adds is multiplied by {factor} first; "
                "use the method activation_gradient"
            )
        found.append((inner, added, Site("hidden", inner.layer)))
    return found


def _frozen(model_map: ModelMap, last: Tensor, final: Tensor) -> FrozenNorm:
    """Return the final norm with its variance at this token; where there is none, what changes nothing."""
    if torch.equal(last, final):
        return FrozenNorm(torch.ones_like(last), torch.zeros_like(last), is_centred=False)
    return freeze_norm(model_map.final[0], last)


def _tolerance(dtype: torch.dtype) -> float:
    """Return by how much two ways to compute the same may differ, relatively."""
    return max(_ERROR, 8 * torch.finfo(dtype).eps)


def _check_logits(found: Tensor, known: Tensor, dtype: torch.dtype, model: nn.Module) -> None:
    """Raise an error where the head of the frozen norm does not give the model's own log-probabilities."""
    likely = known > known.max() - 10  # noqa: PLR2004
    if not bool((found - known)[likely].abs().max() <= 10 * _tolerance(dtype)):
        raise ModelError(
            f"the logits of {type(base_model_of(model)).__name__} are not its head after its final norm; "
            "they are capped or scaled, so that what a neuron does to them cannot be told; use the method "
            "activation_gradient"
        )
