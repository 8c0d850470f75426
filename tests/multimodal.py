"""Tiny multimodal models, built from configs with random weights."""

import torch
from transformers import (
    AutoConfig,
    Gemma3ForConditionalGeneration,
    MllamaForConditionalGeneration,
    PreTrainedModel,
)

from tests.tiny import FFN, VOCABULARY, WIDTH

_TEXT = {
    **{"hidden_size": WIDTH, "intermediate_size": FFN, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"head_dim": 8, "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    **{"max_position_embeddings": 512},
}


def make_gemma3(**changes) -> PreTrainedModel:
    """A Gemma 3 with an image tower, in evaluation mode."""
    vision = {
        **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"image_size": 32, "patch_size": 16},
    }
    config = AutoConfig.for_model(
        "gemma3",
        text_config=_TEXT | {"model_type": "gemma3_text", "num_hidden_layers": 2} | changes,
        vision_config=vision | {"model_type": "siglip_vision_model"},
        mm_tokens_per_image=4,
        **{"boi_token_index": 497, "eoi_token_index": 498, "image_token_index": 499},
    )
    return _drawn(Gemma3ForConditionalGeneration(config))


def make_mllama() -> PreTrainedModel:
    """A Llama 3.2 Vision, whose block 1 attends to images only."""
    config = AutoConfig.for_model(
        "mllama",
        text_config=_TEXT
        | {"num_hidden_layers": 3, "cross_attention_layers": [1]}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        vision_config={
            **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_global_layers": 1},
            **{"attention_heads": 2, "image_size": 32, "patch_size": 16, "max_num_tiles": 1},
            **{"vision_output_dim": 64, "intermediate_layers_indices": [0]},
            "supported_aspect_ratios": [[1, 1]],
        },
        image_token_index=499,
    )
    return _drawn(MllamaForConditionalGeneration(config))


def _drawn(model: PreTrainedModel) -> PreTrainedModel:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in name:
                parameter.normal_(0, 0.15)
            elif parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()
