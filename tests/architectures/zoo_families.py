"""The family that each (model type, class) pair of the zoo belongs to."""

# Models whose feed-forward networks are experts, in some blocks at least.
_MIXTURES = """
afmoe aria_text axk1 axk2 beam cohere2_moe dbrx deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 dots1
dots3_note dots3_note_text ernie4_5_moe exaone_moe flex_olmo flint glm4_moe glm4_moe_lite glm_moe_dsa
gpt_oss granitemoe granitemoe_swa granitemoeshared hunyuan_v1_moe hy_v3 hy_v4 inkling2_text inkling_text
jetmoe kolibri1 laguna llama4 llama4_text longcat_flash mellum mimo_v2_flash minimax_m2
minimax_m3_vl_text mixtral nemo_speechlm nllb-moe olmoe openai_privacy_filter phimoe qwen2_moe qwen3_moe
solar_open switch_transformers
"""
# Decoders with state-space, recurrent or linear-attention blocks. Some have experts too.
_HYBRIDS = """
bailing_hybrid bamba falcon_h1 falcon_mamba granitemoehybrid jamba kimi_linear lfm2 lfm2_moe lfm3 mamba
mamba2 minimax nemotron_h olmo_hybrid qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next
qwen4_exp qwen4_exp_text recurrent_gemma rwkv xlstm zamba zamba2 zaya
"""
# Models of text that no mapping with a head lists. MODEL_MAPPING, which does, has hundreds of other ones,
# which read images.
_HEADLESS_TEXT = """
canine dpr embedding_gemma2 embedding_gemma2_text lilt markuplm openai_privacy_filter splinter
t5gemma2_encoder
"""
# The same for speech.
_HEADLESS_SPEECH = """
audio-spectrogram-transformer audioflamingo3_encoder clap fun_asr_nano_encoder gemma4_audio
glmasr_encoder granite_speech5_encoder lasr_encoder nemotron_asr_streaming_encoder parakeet_encoder
pe_audio_encoder qwen2_audio_encoder qwen3_asr_encoder voxtral_encoder
"""
MIXTURES = frozenset(_MIXTURES.split())
HYBRIDS = frozenset(_HYBRIDS.split())
HEADLESS_TEXT = frozenset(_HEADLESS_TEXT.split())
HEADLESS_SPEECH = frozenset(_HEADLESS_SPEECH.split())
HEADLESS = HEADLESS_TEXT | HEADLESS_SPEECH

_OF_TASK = {
    "causal": "dense decoder",
    "masked": "encoder",
    "seq2seq": "encoder–decoder",
    "speech_seq2seq": "speech",
    "transducer": "speech",
    "ctc": "speech",
    "multimodal": "multimodal",
}
FAMILIES = (
    "dense decoder",
    "mixture of experts",
    "hybrid",
    "encoder",
    "encoder–decoder",
    "multimodal",
    "speech",
)


def family_of(model_type: str, task: str) -> str:
    """The family of a model type under a task of `zoo.MAPPINGS`."""
    if task in ("causal", "seq2seq", "base") and model_type in MIXTURES:
        return "mixture of experts"
    if task == "causal" and model_type in HYBRIDS:
        return "hybrid"
    if task == "base":
        return "speech" if model_type in HEADLESS_SPEECH else "encoder"
    return _OF_TASK[task]
