"""`pool_experts`: pool what tokens run through in a mixture of experts, without a value for every expert."""

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.model.architectures.sites import Pool
from xalign.model.routed import Routed


def pool_experts(
    states: Float[Tensor, "batch token slot width"],
    routed: Routed,
    weights: Float[Tensor, "batch token"],
    how: Pool,
) -> Float[Tensor, "batch coordinate"]:
    """Pool states over the tokens of each sentence in float32; where a token is not routed, 0 counts.

    Nothing of size token × coordinate is made, and what tokens hold that are not pooled has no effect.

    Args:
        states: The state of each slot.
        routed: Which expert is in which slot.
        weights: The weights of the tokens, as `token_weights` gives them for the same pool.
        how: The pool.
    """
    lines, n_experts = len(weights), routed.n_experts
    count = lines * n_experts
    place = torch.arange(lines, device=weights.device)[:, None, None] * n_experts + routed.experts
    counts = (weights != 0).unsqueeze(-1) & routed.is_routed
    # Rows that do not count go to a place of their own, which is cheaper than to take the others out.
    place = place.masked_fill(~counts, count).flatten()
    rows = states.float().flatten(0, 2)
    if how == "max":
        return _largest(rows, place, weights, n_experts).reshape(lines, -1)
    if how in ("weighted", "mean"):
        by_row = weights.unsqueeze(-1).expand_as(routed.experts).reshape(-1, 1)
        # In place where these are no values of the model: a new tensor costs as much as the product.
        is_of_model = rows.untyped_storage().data_ptr() == routed.values.untyped_storage().data_ptr()
        rows = rows * by_row if is_of_model else rows.mul_(by_row)
    pooled = torch.zeros(count + 1, rows.shape[-1], device=rows.device)
    return pooled.index_add_(0, place, rows)[:count].reshape(lines, -1)


def _largest(rows: Tensor, place: Tensor, weights: Tensor, n_experts: int) -> Tensor:
    """Return the largest row of each expert of each sentence; 0 is among them where a token is not routed."""
    count = len(weights) * n_experts
    largest = rows.new_full((count + 1, rows.shape[-1]), -torch.inf)
    largest.scatter_reduce_(0, place.unsqueeze(-1).expand_as(rows), rows, "amax")
    routed = torch.bincount(place, minlength=count + 1)[:count]
    tokens = (weights != 0).sum(-1).repeat_interleave(n_experts)
    return torch.where((routed < tokens).unsqueeze(-1), largest[:count].clamp(min=0), largest[:count])
