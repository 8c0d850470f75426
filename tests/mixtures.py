"""Tiny mixtures of experts, beside the dense models of `tests/tiny.py`."""

import torch
import transformers
from torch import nn
from transformers import AutoConfig

from tests.tiny import GROUPED, SIZES
from tests.versions.require import require

EXPERTS, EXPERT_WIDTH, DENSE = 6, 20, 0  # block 0 is dense, the others are mixtures


def make_mixture(family: str = "qwen3_moe", seed: int = 0, **changes) -> transformers.PreTrainedModel:
    """A tiny Qwen3-MoE (or Qwen2-MoE, which has shared experts) in evaluation mode."""
    require("it does not say how its experts are run", transformers="5.14")
    sizes = {
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": EXPERT_WIDTH,
        "shared_expert_intermediate_size": 28,
        "mlp_only_layers": [DENSE],
        "decoder_sparse_step": 1,
    }
    config = AutoConfig.for_model(family, **(SIZES | GROUPED | sizes | changes))
    name = {"qwen3_moe": "Qwen3MoeForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM"}[family]
    torch.manual_seed(seed)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "embed" not in path:
                parameter.normal_(0, 0.3)
    return model


def experts_of(model: transformers.PreTrainedModel, layer: int) -> nn.Module:
    """The module that holds the experts of a block."""
    return model.model.layers[layer].mlp.experts


def by_hand(experts: nn.Module, change):
    """A forward of experts from their weights alone, token by token, with a change of each expert's neurons.

    Args:
        experts: The module.
        change: (token, expert, neurons) -> neurons.
    """

    def forward(states, index, weights):
        out = torch.zeros_like(states)
        for token, state in enumerate(states):
            for slot, expert in enumerate(index[token].tolist()):
                gate, up = (experts.gate_up_proj[expert] @ state).chunk(2)
                inner = change(token, expert, nn.functional.silu(gate) * up)
                out[token] += weights[token, slot] * (experts.down_proj[expert] @ inner)
        return out

    return forward
