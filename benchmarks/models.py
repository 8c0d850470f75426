"""Models of the shapes of published ones, with random weights; and what a forward costs."""

from collections.abc import Sequence

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

_SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
SHAPES: dict[str, tuple[str, dict]] = {
    "135M": (
        "llama",
        {
            "num_hidden_layers": 30,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "vocab_size": 49152,
        },
    ),
    "360M": (
        "llama",
        {
            "num_hidden_layers": 32,
            "hidden_size": 960,
            "intermediate_size": 2560,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
            "vocab_size": 49152,
        },
    ),
    "GPT-2": ("gpt2", {}),
    "small MoE": (
        "qwen3_moe",
        {
            "num_hidden_layers": 12,
            "hidden_size": 512,
            "intermediate_size": 1536,
            "moe_intermediate_size": 256,
            "num_experts": 16,
            "num_experts_per_tok": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "vocab_size": 49152,
        },
    ),
    # multilingual-e5-small
    "encoder": (
        "bert",
        {
            "num_hidden_layers": 12,
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_attention_heads": 12,
            "vocab_size": 250037,
        },
    ),
    "1B": (
        "llama",
        {
            "num_hidden_layers": 16,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "vocab_size": 128256,
            "tie_word_embeddings": True,
        },
    ),
    "8B": (
        "llama",
        {
            "num_hidden_layers": 32,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
    ),
    "70B": (
        "llama",
        {
            "num_hidden_layers": 80,
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
    ),
    # The widths of Qwen3-30B-A3B, in 8 of its 48 blocks.
    "MoE": (
        "qwen3_moe",
        {
            "num_hidden_layers": 8,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "vocab_size": 151936,
        },
    ),
    "smoke": ("llama", _SMALL | {"num_hidden_layers": 4, "intermediate_size": 128, "vocab_size": 8192}),
    "smoke MoE": (
        "qwen3_moe",
        _SMALL
        | {
            "num_hidden_layers": 2,
            "intermediate_size": 128,
            "moe_intermediate_size": 32,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "vocab_size": 8192,
        },
    ),
}
"""Name -> the family, and its config where it differs from the family's own."""


def make_model(
    shape: str, device: torch.device, dtype: torch.dtype, seed: int = 0, **changed: int
) -> PreTrainedModel:
    """Make a model of a shape with random weights, some sizes changed, on its device from the start."""
    family, sizes = SHAPES[shape]
    config = AutoConfig.for_model(family, **sizes | changed, max_position_embeddings=2048)
    torch.manual_seed(seed)
    with torch.device(device):
        auto = AutoModel if family == "bert" else AutoModelForCausalLM
        return auto.from_config(config, dtype=dtype).eval()


def forward_flops(config, lengths: Sequence[int]) -> float:
    """Count the floating-point operations of a forward of some sentences, without the head.

    A multiplication and an addition are two. Counted are the matrix products of the weights that a token runs
    through, and those of causal attention.
    """
    d, heads = config.hidden_size, config.num_attention_heads
    of_head = getattr(config, "head_dim", None) or d // heads
    attention = 2 * d * of_head * (heads + config.num_key_value_heads)
    if getattr(config, "num_experts", None):
        active = config.num_experts_per_tok * 3 * d * config.moe_intermediate_size + d * config.num_experts
    else:
        active = 3 * d * config.intermediate_size
    weights = 2 * (attention + active) * config.num_hidden_layers
    scores = 2 * heads * of_head * config.num_hidden_layers  # 2 products of 2 operations, half of them masked
    return float(sum(weights * length + scores * length**2 for length in lengths))
