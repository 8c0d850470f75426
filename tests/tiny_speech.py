"""Tiny speech models of every family, with their feature extractors, and noise that differs by sentence."""

from dataclasses import dataclass

import numpy as np
import torch
import transformers
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from xalign import Audio, ParallelPairs

RATE = 16_000
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
CONVOLUTIONS = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
PAIR = {
    f"{stack}_{name}": value
    for stack in ("encoder", "decoder")
    for name, value in {"layers": 3, "attention_heads": 4, "ffn_dim": 48}.items()
}
TOKENS = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Family:
    """A class of transformers, what its config says, its feature extractor, and what is expected of it."""

    name: str
    config: dict
    extractor: object
    is_changed_by_padding: bool = False


def convolutional(name, norm="layer", **changes):
    stable = norm == "layer"
    config = {**SIZES, **CONVOLUTIONS, "vocab_size": 32, "feat_extract_norm": norm, **changes}
    return Family(
        name,
        config | {"do_stable_layer_norm": stable},
        Wav2Vec2FeatureExtractor(return_attention_mask=stable),
        norm == "group",
    )


FAMILIES = {
    # Two seconds at most, where the real one takes thirty.
    "whisper": Family(
        "Whisper",
        {**PAIR, **TOKENS, "d_model": 32, "num_mel_bins": 80, "max_source_positions": 100}
        | {"decoder_start_token_id": 1},
        WhisperFeatureExtractor(feature_size=80, chunk_length=2),
    ),
    "wav2vec2": convolutional("Wav2Vec2"),
    "wav2vec2, group norm": convolutional("Wav2Vec2", "group"),
    "hubert": convolutional("Hubert"),
    "hubert, group norm": convolutional("Hubert", "group"),
    "wavlm": convolutional("WavLM"),
    "w2v-bert": Family("Wav2Vec2Bert", SIZES, SeamlessM4TFeatureExtractor()),
    "w2v-bert, adapter": Family(
        "Wav2Vec2Bert",
        SIZES | {"add_adapter": True, "output_hidden_size": 32},
        SeamlessM4TFeatureExtractor(),
    ),
    "seamless": Family(
        "SeamlessM4Tv2",
        {"hidden_size": 32, "speech_encoder_layers": 3, "speech_encoder_attention_heads": 4}
        | {"speech_encoder_intermediate_size": 48},
        SeamlessM4TFeatureExtractor(),
    ),
    # No norm over time; its convolutions carry the padding into the last frames.
    "data2vec": Family(
        "Data2VecAudio",
        SIZES
        | {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 3, "num_conv_pos_embedding_groups": 2}
        | {"conv_pos_kernel_size": 5},
        Wav2Vec2FeatureExtractor(return_attention_mask=True),
        True,
    ),
}


def make_speech_model(family, seed=0):
    """A tiny speech encoder in evaluation mode, and its feature extractor. Norms and biases are drawn too."""
    found = FAMILIES[family]
    config = getattr(transformers, f"{found.name}Config")(**found.config)
    torch.manual_seed(seed)
    if found.name == "SeamlessM4Tv2":
        from transformers.models.seamless_m4t_v2.modeling_seamless_m4t_v2 import SeamlessM4Tv2SpeechEncoder

        model = SeamlessM4Tv2SpeechEncoder(config)
    else:
        model = getattr(transformers, f"{found.name}Model")(config)
    model = model.get_encoder() if found.name == "Whisper" else model
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval(), found.extractor


def noise(seconds, seed=0, rate=RATE):
    samples = np.random.default_rng(seed).standard_normal(int(rate * seconds))
    return Audio(0.1 * samples, rate)


def make_audio_pairs(n=6, languages=("eng_Latn", "deu_Latn", "fra_Latn")):
    """Sentence i is a melody of three tones, which every language plays at its own pitch and pace."""
    melodies = np.random.default_rng(1).uniform(200, 900, (n, 3))

    def play(number, melody):
        seconds = 0.25 + 0.05 * number
        times = np.arange(int(RATE * seconds)) / RATE
        tones = [np.sin(2 * np.pi * tone * (1 + 0.1 * number) * times) for tone in melody]
        return Audio(0.3 * np.concatenate(tones), RATE)

    sides = {code: [play(number, one) for one in melodies] for number, code in enumerate(languages)}
    return ParallelPairs(sides)
