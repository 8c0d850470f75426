"""What each family computes, written from its weights alone: no site, no map, no visit.

The only hook is a plain torch one on the feed-forward network's input; gate, neurons and output follow
from it by the formulas of the architecture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gelu_new(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


@dataclass(frozen=True)
class Oracle:
    """Paths and formulas of one family."""

    blocks: Callable[[nn.Module], nn.ModuleList]
    first: str  # the module whose input is the input of the feed-forward network
    gate: str
    down: str
    act: Callable[[Tensor], Tensor]
    up: str | None = None
    fused: bool = False
    # (block, stream before, attention's part, feed-forward's part) -> stream after
    stream: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor] = lambda block, h, a, m: h + a + m


def _post_norm(block: nn.Module, h: Tensor, a: Tensor, m: Tensor) -> Tensor:
    middle = block.attention.output.LayerNorm(h + a)
    return block.output.LayerNorm(middle + m)


LLAMA = Oracle(lambda m: m.model.layers, "mlp", "mlp.gate_proj", "mlp.down_proj", F.silu, up="mlp.up_proj")
FUSED = Oracle(lambda m: m.model.layers, "mlp", "mlp.gate_up_proj", "mlp.down_proj", F.silu, fused=True)
GEMMA = Oracle(lambda m: m.model.layers, "mlp", "mlp.gate_proj", "mlp.down_proj", gelu_new, up="mlp.up_proj")
BERT = Oracle(
    lambda m: m.encoder.layer, "intermediate", "intermediate.dense", "output.dense", F.gelu, stream=_post_norm
)
ORACLES = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "olmo2": LLAMA,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "glm": FUSED,
    "glm4": FUSED,
    "phi3": FUSED,
    "gpt2": Oracle(lambda m: m.transformer.h, "mlp", "mlp.c_fc", "mlp.c_proj", gelu_new),
    "gpt_neox": Oracle(lambda m: m.gpt_neox.layers, "mlp", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", F.gelu),
    "bloom": Oracle(
        lambda m: m.transformer.h, "mlp.dense_h_to_4h", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", gelu_new
    ),
    "opt": Oracle(lambda m: m.model.decoder.layers, "fc1", "fc1", "fc2", F.relu),
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "modernbert": Oracle(lambda m: m.layers, "mlp", "mlp.Wi", "mlp.Wo", F.gelu, fused=True),
}


def project(module: nn.Module, x: Tensor) -> Tensor:
    """x through a projection's weights; a Conv1D keeps them transposed."""
    weight = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
    out = x @ weight.T
    return out if getattr(module, "bias", None) is None else out + module.bias


def feed_forward(oracle: Oracle, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(gate, inner, down projection's output) of one block, from its weights."""
    gate = project(block.get_submodule(oracle.gate), x)
    if oracle.fused:
        gate, up = gate.chunk(2, dim=-1)
        inner = oracle.act(gate) * up
    elif oracle.up is not None:
        inner = oracle.act(gate) * project(block.get_submodule(oracle.up), x)
    else:
        inner = oracle.act(gate)
    return gate, inner, project(block.get_submodule(oracle.down), inner)


@torch.no_grad()
def neurons(
    family: str, model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per block (gate, inner, down projection's output), each [batch, token, width]."""
    oracle = ORACLES[family]
    blocks = oracle.blocks(model)
    inputs: dict[int, Tensor] = {}
    handles = [
        block.get_submodule(oracle.first).register_forward_pre_hook(
            lambda module, args, number=number: inputs.__setitem__(number, args[0])
        )
        for number, block in enumerate(blocks)
    ]
    model(input_ids=input_ids, attention_mask=attention_mask)
    for handle in handles:
        handle.remove()
    shape = (*input_ids.shape, -1)
    return [
        tuple(part.reshape(shape) for part in feed_forward(oracle, block, inputs[number]))
        for number, block in enumerate(blocks)
    ]
