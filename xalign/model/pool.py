"""`pool`: one vector per sentence from the states of its tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.errors import ModelError
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Pool, Reading
from xalign.model.batches import Batch


def check_tokens(values: Float[Tensor, "batch token width"], batch: Batch) -> None:
    """Raise an error where a model returns states of more or fewer tokens than it was given."""
    if values.shape[:2] != batch.pooled.shape:
        raise ModelError(
            f"the states have {values.shape[1]} tokens where {batch.pooled.shape[1]} were given: the model "
            "adds or drops tokens, and which of the states are the sentence's is not known; pass the "
            "transformers model inside it"
        )


def state_of(
    values: Float[Tensor, "batch token *_"], reading: Reading, model_map: ModelMap
) -> Float[Tensor, "batch token *_"]:
    """Compute the state that a reading takes of a site's values, per token; of experts, per slot."""
    site = reading.site
    if site.kind == "router" and reading.state == "active":
        return torch.ones_like(values, dtype=torch.float32)  # chosen, with whatever weight
    is_gate = site.kind in ("gate", "expert_gate")
    if is_gate and isinstance(site.layer, int) and reading.state in ("active", "act"):
        activation = model_map.activation(site.layer, site.stack, site.part, site.kind)
        if reading.state == "act" or not activation.keeps_sign:
            values = activation(values)
    if reading.state == "abs":
        return values.abs()
    if reading.state == "active":
        # One pass where (values > 0).float() takes two, the second of them slow.
        return torch.gt(values, 0, out=torch.empty_like(values, dtype=torch.float32))
    return values


def pool(
    states: Float[Tensor, "batch token width"], weights: Float[Tensor, "batch token"], how: Pool
) -> Float[Tensor, "batch width"]:
    """Pool states over the tokens of each sentence in float32, with `token_weights` of the same pool."""
    states = states.float()
    if how == "max":
        return states.masked_fill(weights.unsqueeze(-1) == 0, -torch.inf).amax(dim=1)
    if how in ("last", "first"):
        return states[torch.arange(len(states), device=states.device), weights.argmax(dim=1)]
    return torch.bmm(weights.unsqueeze(1), states).squeeze(1)


def token_weights(pooled: Bool[Tensor, "batch token"], how: Pool) -> Float[Tensor, "batch token"]:
    """Compute the weight of each token: 0 where it is not pooled; the weights of a sentence sum to 1.

    `weighted` gives t / (1 + … + T) to the t-th of T pooled tokens (MEXA, §3.1), `last` and `first` give 1 to
    one token, `mean` and `max` give all tokens the same weight.
    """
    positions = pooled.cumsum(dim=1) * pooled
    if how == "last":
        raw = (positions == positions.amax(dim=1, keepdim=True)) & pooled
    elif how == "first":
        raw = positions == 1
    else:
        raw = positions if how == "weighted" else pooled
    return raw.float() / raw.sum(dim=1, keepdim=True)
