"""`tiny_config`: a small config of any class of transformers, from the names of its fields."""

import dataclasses
from typing import Any

from transformers import PretrainedConfig

from tests.architectures.zoo_configs import CONFIGS, LEAVE_OUT
from tests.versions.require import require

WIDTH, FFN, HEADS, HEAD_WIDTH, VOCABULARY, BLOCKS = 32, 48, 4, 16, 160, 4

# Value -> the fields that get it. The widths differ, so that no map passes by taking one for another.
_FIELDS: list[tuple[int, str]] = [
    # The residual stream, and what is projected into it.
    (
        WIDTH,
        "hidden_size d_model n_embd emb_dim dim embed_dim model_dim dim_model embedding_size out_hidden_size "
        "text_hidden_size audio_hidden_size condition_dim llm_hidden_size upsample_groups",
    ),
    # Feed-forward networks: dense ones, those of decoders, shared experts, experts.
    (
        FFN,
        "intermediate_size ffn_dim d_ff n_inner d_inner dff dim_ff ffn_hidden_size mlp_hidden_size "
        "encoder_ffn_dim hidden_dim mlp_dim intermediate_dim feed_forward_hidden_size",
    ),
    (FFN + 8, "decoder_ffn_dim intermediate_size_mlp dense_intermediate_size prefix_dense_intermediate_size"),
    (
        40,
        "shared_expert_intermediate_size shared_intermediate_size shared_experts_intermediate_size "
        "moe_shared_expert_intermediate_size",
    ),
    (24, "moe_intermediate_size expert_ffn_hidden_size"),
    # Blocks.
    (BLOCKS, "num_hidden_layers n_layer num_layers n_layers"),
    (3, "decoder_layers num_decoder_layers decoder_num_hidden_layers"),
    (2, "encoder_layers num_encoder_layers encoder_num_hidden_layers depth"),
    (0, "num_mtp_layers num_nextn_predict_layers"),
    # Attention.
    (
        HEADS,
        "num_attention_heads n_head num_heads n_heads encoder_attention_heads decoder_attention_heads "
        "num_encoder_attention_heads num_decoder_attention_heads encoder_num_attention_heads "
        "decoder_num_attention_heads attention_heads",
    ),
    (
        HEADS // 2,
        "num_key_value_heads n_head_kv num_kv_heads decoder_num_key_value_heads encoder_num_key_value_heads",
    ),
    (HEAD_WIDTH, "head_dim d_kv d_head dim_head global_head_dim swa_head_dim kv_channels attention_head_dim"),
    (16, "q_lora_rank kv_lora_rank qk_nope_head_dim v_head_dim sliding_window"),
    (8, "qk_rope_head_dim rotary_dim attention_window local_attention"),
    (24, "qk_head_dim"),
    (4, "block_size"),
    (1, "num_random_blocks"),
    # Experts, and who goes to them.
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts"),
    (2, "num_experts_per_tok num_experts_per_token moe_topk moe_k"),
    (1, "n_group topk_group n_shared_experts num_shared_experts moe_num_shared_experts"),
    (1, "first_k_dense_replace num_dense_layers"),
    # State-space and linear attention.
    (2, "linear_num_key_heads expand mamba_expand"),
    (4, "linear_num_value_heads mamba_n_heads mamba_num_heads time_step_rank mamba_dt_rank"),
    (8, "linear_key_head_dim linear_value_head_dim mamba_d_state ssm_state_size state_size"),
    (8, "mamba_chunk_size chunk_size"),
    (1, "mamba_n_groups n_groups"),
    (16, "mamba_d_head mamba_head_dim"),
    (64, "mamba_d_ssm"),
    # Positions, images, sounds.
    (128, "max_position_embeddings n_positions n_ctx max_seq_len max_sequence_length context_length"),
    (64, "max_target_positions max_2d_position_embeddings"),
    (32, "image_size max_source_positions"),
    (16, "patch_size num_mel_bins projection_dim"),
    # Words. Other vocabularies are as small where they were larger.
    (VOCABULARY, "vocab_size n_vocab"),
]
SIZES = {name: value for value, names in _FIELDS for name in names.split()}
# Kept None where the class says so: the model then does without.
OPTIONAL = {"q_lora_rank", "sliding_window"}
TOKENS = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "decoder_start_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "mask_token_id": 3,
    "unk_token_id": 3,
}
ALWAYS_SET = ("pad_token_id", "decoder_start_token_id")
PLACEHOLDER = 4  # stands for an image or a sound


def tiny_config(cls: type[PretrainedConfig], **changes: Any) -> PretrainedConfig:
    """Make a small config of a class, its sub-configs small too."""
    require("its configs are no dataclasses, from which tests build models", transformers="5.0")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    given = CONFIGS.get(cls.model_type, {})
    values = _sizes(fields) | _tokens(fields)
    if "kv_lora_rank" in fields and "num_key_value_heads" in fields:
        values["num_key_value_heads"] = HEADS  # multi-head latent attention
    values |= given | changes
    values |= _sub_configs(cls, set(fields), values)
    return cls(**{name: value for name, value in values.items() if value is not LEAVE_OUT})


def _sizes(fields: dict[str, dataclasses.Field]) -> dict[str, Any]:
    return {
        name: SIZES[name]
        for name, field in fields.items()
        if name in SIZES
        and not isinstance(field.default, list | tuple)
        and not (field.default is None and name in OPTIONAL)
    }


def _tokens(fields: dict[str, dataclasses.Field]) -> dict[str, Any]:
    values = {}
    for name, field in fields.items():
        if name in TOKENS and (field.default is not None or name in ALWAYS_SET):
            values[name] = TOKENS[name]
        elif isinstance(field.default, int) and field.default >= VOCABULARY:
            if name.endswith(("_token_id", "_token_index")):
                values[name] = PLACEHOLDER
            elif name.endswith("vocab_size"):
                values[name] = VOCABULARY
    return values


def _sub_configs(cls: type[PretrainedConfig], fields: set[str], values: dict[str, Any]) -> dict[str, Any]:
    """The sub-configs, small too; what `CONFIGS` has for one of this class alone is a dict there."""
    try:
        default = vars(cls())
    except Exception:  # what a class refuses to be by default, its own call refuses too
        return {}
    return {
        name: tiny_config(type(default[name]), **values.get(name, {}))
        for name in sorted(set(cls.sub_configs or {}) | fields)
        if isinstance(default.get(name), PretrainedConfig)
    }
