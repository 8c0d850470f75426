"""Tiny models of every family, built from configs with random weights, and a tokenizer for them."""

import os
from functools import cache
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from tests.versions.require import require
from xalign import load_pairs

ROOT = Path(__file__).parent.parent
WIDTH, FFN, LAYERS, VOCABULARY = 32, 80, 3, 500

SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
# Per family: the class, and its config where it differs from SIZES.
FAMILIES: dict[str, tuple[str, dict]] = {
    "llama": ("LlamaForCausalLM", GROUPED),
    "mistral": ("MistralForCausalLM", GROUPED),
    "qwen2": ("Qwen2ForCausalLM", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3ForCausalLM", GROUPED),
    "gemma2": ("Gemma2ForCausalLM", GROUPED),
    "gemma3_text": ("Gemma3ForCausalLM", GROUPED),
    "olmo2": ("Olmo2ForCausalLM", {"num_key_value_heads": 2}),
    "glm": ("GlmForCausalLM", GROUPED),
    "glm4": ("Glm4ForCausalLM", GROUPED),
    "phi3": ("Phi3ForCausalLM", {"num_key_value_heads": 2}),
    "gpt2": ("GPT2LMHeadModel", {"n_inner": FFN}),
    "gpt_neox": ("GPTNeoXForCausalLM", {}),
    "bloom": ("BloomForCausalLM", {}),
    "opt": ("OPTForCausalLM", {"ffn_dim": FFN, "word_embed_proj_dim": WIDTH}),
    "bert": ("BertModel", {}),
    "roberta": ("RobertaModel", {}),
    "xlm-roberta": ("XLMRobertaModel", {}),
    "modernbert": ("ModernBertModel", {"cls_token_id": 1, "sep_token_id": 2}),
}

# Mixtures of experts. The first block of the second is dense, and the others have a shared network too.
_EXPERTS = {"moe_intermediate_size": 24, "num_experts": 8, "num_experts_per_tok": 2}
MIXTURES: dict[str, tuple[str, dict]] = {
    "qwen3_moe": ("Qwen3MoeForCausalLM", GROUPED | _EXPERTS),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        _EXPERTS | {"num_key_value_heads": 2, "shared_expert_intermediate_size": 40, "mlp_only_layers": [0]},
    ),
}


def make_model(family: str, seed: int = 0, **changes) -> transformers.PreTrainedModel:
    """A tiny model of a family in evaluation mode. Every parameter is drawn, norms and biases too."""
    if family in MIXTURES:
        require("it does not say how its experts are run", transformers="5.14")
    class_name, different = (FAMILIES | MIXTURES)[family]
    sizes = {
        key: value for key, value in SIZES.items() if not (family == "bloom" and key == "intermediate_size")
    }
    if family in ("gpt2", "opt"):
        del sizes["intermediate_size"]
    config = AutoConfig.for_model(family, **(sizes | different | changes))
    torch.manual_seed(seed)
    model = getattr(transformers, class_name)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                # Norms near 1 and biases near 0, but never exactly: a test must see whether they are used.
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "embed" not in name and "wte" not in name:
                parameter.normal_(0, 0.15)
    return model


def enable_checkpointing(model: torch.nn.Module, use_reentrant: bool = False) -> None:
    """Activation checkpointing, under any of the names that releases of transformers have for it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": use_reentrant})


@cache
def make_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the bundled sentences; it adds <s> in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pairs = load_pairs("bundled")
    texts = [text for bitext in pairs.values() for text in (*bitext.pivot_sentences, *bitext.sentences)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side=padding_side,
        model_input_names=["input_ids", "attention_mask"],  # transformers 4 adds token types
    )


def real_pairs_folder() -> Path | None:
    """The folder that XALIGN_DATA names, or the one beside the checkout."""
    named = os.environ.get("XALIGN_DATA", ROOT.parent / "shared" / "data")
    return Path(named).resolve() if named and Path(named).is_dir() else None
