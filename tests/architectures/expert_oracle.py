"""What the experts of a mixture compute, one token and one expert at a time, from the weights alone.

It shares no code with xalign, and uses neither the forward of the experts nor `_apply_gate`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Computed(NamedTuple):
    """Gate and neurons [token, slot, width], and the output [token, width]."""

    gate: Tensor
    inner: Tensor
    output: Tensor


@torch.no_grad()
def computed(experts: nn.Module, states: Tensor, index: Tensor, weights: Tensor) -> Computed:
    """What experts compute of states [token, width] that are routed to `index` [token, slot]."""
    gates, inners, outputs = [], [], []
    for token, state in enumerate(states):
        total = torch.zeros_like(_down(experts, 0, _formula(experts, _up(experts, 0, state))[1]))
        for slot, expert in enumerate(index[token].tolist()):
            if expert >= experts.num_experts:
                zeros = torch.zeros_like(_formula(experts, _up(experts, 0, state))[0])
                gates.append(zeros)
                inners.append(zeros)
                continue
            gate, inner = _formula(experts, _up(experts, expert, state))
            gates.append(gate)
            inners.append(inner)
            total = total + weights[token, slot] * _down(experts, expert, inner)
        outputs.append(total)
    shape = (*index.shape, -1)
    return Computed(
        torch.stack(gates).reshape(shape), torch.stack(inners).reshape(shape), torch.stack(outputs)
    )


def column(experts: nn.Module, expert: int, neuron: int) -> Tensor:
    """What one unit of one neuron of an expert adds, before any norm."""
    weight = experts.down_proj[expert]
    return (weight[neuron] if experts.is_transposed else weight[:, neuron]).detach()


def _up(experts: nn.Module, expert: int, state: Tensor) -> Tensor:
    name = "gate_up_proj" if experts.has_gate else "up_proj"
    weight = getattr(experts, name)[expert]
    made = state @ weight if experts.is_transposed else weight @ state
    return made + getattr(experts, f"{name}_bias")[expert] if experts.has_bias else made


def _down(experts: nn.Module, expert: int, inner: Tensor) -> Tensor:
    weight = experts.down_proj[expert]
    made = inner @ weight if experts.is_transposed else weight @ inner
    if experts.has_bias:
        made = made + experts.down_proj_bias[expert]
    has_norm = getattr(experts, "has_post_expert_norm", False)
    return experts.post_expert_norm(made[None])[0] if has_norm else made


def _formula(experts: nn.Module, made: Tensor) -> tuple[Tensor, Tensor]:
    """The gate and the neurons: silu(gate) · up in most, with limits in some."""
    if not experts.has_gate:
        return made, experts.act_fn(made)
    half = len(made) // 2
    gate, up = (made[:half], made[half:]) if experts.is_concatenated else (made[::2], made[1::2])
    if type(experts).__name__.startswith("Inkling2"):
        return gate, experts.act_fn(gate, up)
    limit = getattr(experts, "limit", getattr(experts, "swiglu_limit", None))
    alpha = getattr(experts, "alpha", getattr(experts, "swiglu_alpha", None))
    if limit is None:
        return gate, experts.act_fn(gate) * up
    low, small = gate.clamp(max=limit), up.clamp(-limit, limit)
    if alpha is None:
        return gate, torch.nn.functional.silu(low) * small
    return gate, (small + 1) * low * torch.sigmoid(alpha * low)
