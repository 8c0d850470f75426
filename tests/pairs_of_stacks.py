"""Tiny encoder–decoders of each family, built from configs with random weights."""

import torch
import transformers
from transformers import AutoConfig, PreTrainedModel

from tests.tiny import FFN, VOCABULARY, WIDTH

LAYERS = 2
_TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_T5 = {
    **{"d_model": WIDTH, "d_ff": FFN, "d_kv": 8, "num_heads": 4, "num_layers": LAYERS},
    **{"num_decoder_layers": LAYERS, "decoder_start_token_id": 0, **_TOKENS},
}
_BART = {
    **{"d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "max_position_embeddings": 256},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4},
    **{"encoder_ffn_dim": FFN, "decoder_ffn_dim": FFN, **_TOKENS},
}
_GEMMA = {
    **{"hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": LAYERS, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, **_TOKENS},
}
# Per family: the class, and its config.
PAIRS_OF_STACKS: dict[str, tuple[str, dict]] = {
    "t5": ("T5ForConditionalGeneration", _T5),
    "mt5": ("MT5ForConditionalGeneration", _T5),
    "umt5": ("UMT5ForConditionalGeneration", _T5),
    "m2m_100": ("M2M100ForConditionalGeneration", _BART | {"decoder_start_token_id": 2}),  # NLLB's, too
    "bart": ("BartForConditionalGeneration", _BART | {"decoder_start_token_id": 2}),
    "mbart": ("MBartForConditionalGeneration", _BART),
    "marian": ("MarianMTModel", _BART | {"decoder_start_token_id": 0}),
    "t5gemma": ("T5GemmaForConditionalGeneration", {"encoder": _GEMMA, "decoder": _GEMMA, "vocab_size": 500}),
}


def make_pair(family: str, **changes) -> PreTrainedModel:
    """A tiny encoder–decoder in evaluation mode, whose every parameter is drawn."""
    class_name, sizes = PAIRS_OF_STACKS[family]
    config = AutoConfig.for_model(family, **(sizes | changes))
    torch.manual_seed(0)
    model = getattr(transformers, class_name)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "embed" not in name and "shared" not in name:
                parameter.normal_(0, 0.15)
    return model
