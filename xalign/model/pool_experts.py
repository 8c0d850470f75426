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

    Only the tokens that are pooled are touched, and nothing of size token × coordinate is made.

    Args:
        states: The state of each slot.
        routed: Which expert is in which slot.
        weights: The weights of the tokens, as `token_weights` gives them for the same pool.
        how: The pool.
    """
    lines, n_experts = len(weights), routed.n_experts
    line, token = weights.nonzero(as_tuple=True)
    experts = routed.experts[line, token]
    place = line.unsqueeze(-1) * n_experts + experts
    rows = states[line, token].float()
    if how in ("weighted", "mean"):
        rows = rows * weights[line, token, None, None]
    rows, place = rows.flatten(0, 1), place.flatten()
    if bool((experts == n_experts).any()):
        kept = experts.flatten() < n_experts
        rows, place = rows[kept], place[kept]
    if how == "max":
        return _largest(rows, place, line, lines, n_experts).reshape(lines, -1)
    pooled = rows.new_zeros(lines * n_experts, rows.shape[-1])
    return pooled.index_add_(0, place, rows).reshape(lines, -1)


def _largest(rows: Tensor, place: Tensor, line: Tensor, lines: int, n_experts: int) -> Tensor:
    """Return the largest row of each expert of each sentence; 0 is among them where a token is not routed."""
    largest = rows.new_full((lines * n_experts, rows.shape[-1]), -torch.inf)
    largest.index_reduce_(0, place, rows, "amax")
    routed = torch.bincount(place, minlength=len(largest))
    tokens = torch.bincount(line, minlength=lines).repeat_interleave(n_experts)
    return torch.where((routed < tokens).unsqueeze(-1), largest.clamp(min=0), largest)
