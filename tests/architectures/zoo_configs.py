"""What the small configs of the zoo need beyond small sizes.

Each entry belongs to the model type of a config or of a sub-config. The comment above a group says why.
"""

from typing import Any

LEAVE_OUT: Any = object()  # keeps the default of the class

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_ALTERNATE = ["sliding_attention", "full_attention"] * 2


def _mrope(*sections: int) -> dict[str, Any]:
    return {"rope_parameters": {**_ROPE, "mrope_section": list(sections)}}


_SEAMLESS = {
    "feature_projection_input_dim": 16,
    "speech_encoder_layers": 2,
    "speech_encoder_attention_heads": 4,
    "speech_encoder_intermediate_size": 48,
    "t2u_encoder_layers": 1,
    "t2u_decoder_layers": 1,
    "t2u_encoder_ffn_dim": 48,
    "t2u_decoder_ffn_dim": 48,
    "t2u_encoder_attention_heads": 4,
    "t2u_decoder_attention_heads": 4,
    "unit_embed_dim": 16,
    "lang_embed_dim": 8,
    "spkr_embed_dim": 8,
    "upsample_initial_channel": 32,
    "max_source_positions": 4096,
    "t2u_max_position_embeddings": 64,
}

CONFIGS: dict[str, dict[str, Any]] = {
    # The sections of multi-modal rotary positions must add up to half of the rotated part of a head.
    "glm4v_text": _mrope(2, 1, 1),
    "glm4v_moe_text": _mrope(1, 1, 0),
    "glm_ocr_text": _mrope(2, 1, 1),
    "paddleocr_vl_text": _mrope(4, 2, 2),
    "qwen2_vl_text": _mrope(2, 1, 1),
    "qwen2_5_vl_text": _mrope(2, 1, 1),
    "qwen2_5_omni_text": _mrope(2, 1, 1),
    "qwen3_omni_moe_text": _mrope(4, 2, 2),
    "cosmos3_edge_text": _mrope(3, 3, 2),
    "hunyuan_vl_text": _mrope(2, 2, 2, 2),
    # Kinds of layers are listed for the default depth only.
    "cohere_compass_text": {
        "layer_types": _ALTERNATE,
        "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE},
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, "intermediate_size": 24},
    "nemotron_h": {"layers_block_type": ["mamba", "moe", "attention", "mlp"], "num_hidden_layers": LEAVE_OUT},
    "step3p5": {"layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 16},
    "mllama_text_model": {"cross_attention_layers": [1], "rope_parameters": _ROPE},
    "reformer": {
        "attn_layers": ["local", "local", "local"],
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (16, 16),
        "feed_forward_size": 48,
        "attention_head_size": 8,
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
    },
    "funnel": {"block_sizes": [2, 2]},
    # A shared block is tied to its copies: at least two hybrid layers, and as many entries as layers.
    "zamba": {
        "num_hidden_layers": 6,
        "layers_block_type": ["mamba", "hybrid"] * 3,
        "num_key_value_heads": 4,
    },
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "n_mamba_heads": 4,
        "mamba_ngroups": 1,
        "num_mem_blocks": 1,
        "adapter_rank": 4,
    },
    # Layers that share their keys and values need one of their kind before them.
    "gemma3n_text": {
        "layer_types": _ALTERNATE,
        "num_kv_shared_layers": 1,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 160,
        "laurel_rank": 4,
        "altup_num_inputs": 2,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "gemma4_text": {
        "layer_types": _ALTERNATE,
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 160,
        "num_global_key_value_heads": 2,
    },
    "gemma4_unified_text": {"layer_types": _ALTERNATE, "num_kv_shared_layers": 0},
    # Sizes that must fit together in another way.
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "helium": {"head_dim": 8},
    "longcat_flash": {"num_key_value_heads": 4, "zero_expert_num": 2, "head_dim": 8, "num_layers": 2},
    "xlnet": {"d_head": 8},
    "lilt": {"hidden_size": 48},
    "esmc": {"num_key_value_heads": 4, "head_dim": 8},
    "zaya": {"num_experts_per_tok": 1},
    "llama4_text": {"num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": 64},
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [24, 24], **_mrope(1, 1, 2)},
    "glm5_next_text": {
        "num_key_value_heads": 4,
        "qk_rope_head_dim": 0,
        "linear_num_heads": 4,
        "linear_head_dim": 8,
    },
    "dots3_note_text": {
        "layer_types": ["indexed_attention", "sliding_attention"] * 2,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 24,
        "swa_qk_nope_head_dim": 16,
        "swa_v_head_dim": 16,
        "swa_qk_rope_head_dim": 8,
    },
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "dots3_note_vision_encoder": {
        "num_hidden_layers": LEAVE_OUT,
        "adapter_in_dim": 32,
        "adapter_out_dim": 32,
    },
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"] * 2},
    "diffusion_gemma_text": {"layer_types": _ALTERNATE, "top_k_experts": 2},
    # A tower of windows: stages that halve the sides of a spectrogram and double the width.
    "clap_audio_model": {
        "patch_size": 4,
        "spec_size": 64,
        "depths": [1, 1],
        "num_attention_heads": [4, 4],
        "patch_embeds_hidden_size": 16,
        "num_hidden_layers": 2,
    },
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 8}},
    "qwen4_exp_text": {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "hc_lowrank": 8,
        "ngram_vocab_size_base": 64,
        "make_ngram_vocab_size_divisible_by": 8,
        "split_ngram_parts": 1,
        "heads_per_ngram": 1,
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "deepseek_v4": {"o_groups": 2, "o_lora_rank": 8, "index_topk": 4, "hc_mult": 2},
    "kimi_linear": {"num_key_value_heads": 4, "linear_num_heads": 4, "linear_head_dim": 8},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "mobilebert": {"true_hidden_size": 24, "intra_bottleneck_size": 24, "embedding_size": 16},
    "blt_local_encoder": {"hidden_size_global": 32, "num_hidden_layers": 1, "num_key_value_heads": 4},
    "blt_local_decoder": {"hidden_size_global": 32, "num_hidden_layers": 2, "num_key_value_heads": 4},
    "blt_global_transformer": {"num_hidden_layers": 2, "num_key_value_heads": 4},
    "blt_patcher": {"num_hidden_layers": 1, "num_key_value_heads": 4},
    "nllb-moe": {"encoder_sparse_step": 1, "decoder_sparse_step": 2, "expert_capacity": 64},
    "canine": {"downsampling_rate": 2, "num_hash_buckets": 64, "local_transformer_stride": 4},
    "cpmant": {"prompt_length": 4, "position_bias_num_buckets": 32},
    # A language must be chosen.
    "xmod": {"default_language": "en_XX", "languages": ("en_XX", "de_DE")},
    "fsmt": {"langs": ["en", "de"], "src_vocab_size": 160, "tgt_vocab_size": 160},
    "xlm": {"n_langs": 2},
    # Tables that are large by default.
    "luke": {"entity_vocab_size": 64, "entity_emb_size": 32},
    "roc_bert": {
        "pronunciation_vocab_size": 64,
        "shape_vocab_size": 64,
        "shape_embed_dim": 16,
        "pronunciation_embed_dim": 16,
    },
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "num_self_attends_per_block": 3,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "qk_channels": 32,
        "v_channels": 32,
        "train_size": [32, 32],
    },
    "markuplm": {
        "max_depth": 4,
        "max_xpath_tag_unit_embeddings": 64,
        "max_xpath_subs_unit_embeddings": 64,
        "xpath_unit_hidden_size": 8,
        "tag_pad_id": 60,
        "subs_pad_id": 60,
    },
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 24},
    # Speech.
    "seamless_m4t": _SEAMLESS,
    "seamless_m4t_v2": _SEAMLESS,
    "wav2vec2-bert": {"feature_projection_input_dim": 16},
    "speech_to_text": {"conv_channels": 32, "input_feat_per_channel": 16, "max_source_positions": 64},
    "moonshine": {"encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "dia_decoder": {
        "cross_hidden_size": 32,
        "cross_head_dim": 16,
        "cross_num_attention_heads": 4,
        "cross_num_key_value_heads": 4,
        "num_channels": 3,
    },
    "dia": {"delay_pattern": [0, 1, 1]},
    # What an outer config hands on to this one.
    "t5gemma2_text": {"dropout_rate": 0.0},
    "qwen2_5_omni_thinker": {"vision_start_token_id": 4, "audio_start_token_id": 4},
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 4, "audio_start_token_id": 4},
    "granite_speech5_encoder": {"num_key_value_heads": 4},
    # Images, which no input brings.
    "molmo2_vision": {"image_size": [32, 32]},
    "molmo2_adapter": {"vision_feature_layer": [2, 1]},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "chameleon": {"vocabulary_map": {"<image>": 4, "IMGIMGA": 5}},
    "emu3": {"vocabulary_map": {"<image>": 4}},
    "kosmos-2": {"latent_query_num": 3},
    "pix2struct_vision_model": {"patch_embed_hidden_size": 12},
    "pix2struct_text_model": {"d_kv": 8},
    "blip-2": {"num_query_tokens": 2, "image_token_index": 4},
    "instructblip": {"num_query_tokens": 2, "image_token_index": 4},
    "instructblipvideo": {"num_query_tokens": 2, "video_token_index": 4},
    "granite4_vision": {
        "deepstack_layer_map": [[0, 0]],
        "downsample_rate": "1/2",
        "vision_config": {"hidden_size": 64},
    },
    "pp_formulanet_vision": {
        "output_channels": 32,
        "post_conv_in_channels": 32,
        "post_conv_mid_channels": 32,
        "post_conv_out_channels": 32,
        "decoder_hidden_size": 32,
    },
    # Towers for images and sounds that do not run, but would be most of the model.
    "emu3_vqgan": {"base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1},
    "chameleon_vqgan": {"base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1},
    "janus_vqgan": {"base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1},
    "florence_vision": {
        "embed_dim": [32, 32, 32, 32],
        "depths": [1, 1, 1, 1],
        "num_heads": [4, 4, 4, 4],
        "num_groups": [4, 4, 4, 4],
        "projection_dim": 32,
    },
    "vibevoice_acoustic_tokenizer_encoder": {"num_filters": 4, "depths": [1] * 7},
    "vibevoice_acoustic_tokenizer_decoder": {"num_filters": 4, "depths": [1] * 7},
    "muse_spark_audio": {"hidden_sizes": [32, 32, 32, 32], "depths": [1, 1, 1, 1]},
}

# Class -> what it needs where another class of the same model type must not have it.
OF_CLASS: dict[str, dict[str, Any]] = {"ReformerModelWithLMHead": {"is_decoder": True}}

_TIMM = "Its image tower needs the package timm."
_DRAFT = "A draft head, which reads the keys and values of another model."
_PARTS = "It has no forward; its thinker, a class of its own, is in the list."
# Model type -> why its specimen cannot be built or run.
NOT_BUILT = {
    "gemma3n": _TIMM,
    "fast_vlm": _TIMM,
    "perception_lm": _TIMM,
    "gemma4_assistant": _DRAFT,
    "gemma4_unified_assistant": _DRAFT,
    "pi0": "It reads the state of a robot.",
    "qwen2_5_omni": _PARTS,
    "qwen3_omni_moe": _PARTS,
}
