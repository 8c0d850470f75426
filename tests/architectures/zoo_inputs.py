"""What each model of the zoo is called with: two lines of seven token ids, or what its signature asks for."""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor
from transformers import PreTrainedModel

from tests.architectures.tiny_config import PLACEHOLDER, VOCABULARY

Inputs = dict[str, Tensor]
Maker = Callable[[PreTrainedModel, Generator], Inputs]
LINES, TOKENS, DECODER_TOKENS = 2, 7, 5
FRAMES, MELS, SAMPLES = 64, 16, 4000
LOWEST_ID = 6  # ids below it are special tokens, and stand for images and sounds


def make_inputs(model_type: str, model: PreTrainedModel, generator: Generator) -> Inputs:
    """Inputs of a model, drawn from a generator: those in `INPUTS`, else those that its forward names."""
    makers = (INPUTS.get(type(model).__name__), INPUTS.get(model_type))
    maker = next((one for one in makers if one is not None), None) or _by_signature(model)
    return maker(model, generator)


def other_values(inputs: Inputs, generator: Generator) -> Inputs:
    """Inputs of the same shapes with other values. Masks, token types and boxes stay."""
    return {name: _other(name, value, generator) for name, value in inputs.items()}


def _other(name: str, value: Tensor, generator: Generator) -> Tensor:
    if "mask" in name or name in ("bbox", "token_type_ids"):
        return value
    if value.is_floating_point():
        new = torch.randn(value.shape, generator=generator).to(value.dtype)
        if name == "flattened_patches":  # begin with the row and the column that they come from
            new[..., :2] = value[..., :2]
        return new
    lowest = min(LOWEST_ID, int(value.max()))
    new = torch.randint(lowest, int(value.max()) + 1, value.shape, generator=generator)
    return torch.where(value < lowest, value, new)  # what stands for an image stays


def _by_signature(model: PreTrainedModel) -> Maker:
    takes = _takes(model)
    if "input_ids" in takes:
        return text
    return mels if "input_features" in takes else samples


def _takes(model: PreTrainedModel) -> set[str]:
    return set(inspect.signature(type(model).forward).parameters)


def _ids(model: PreTrainedModel, generator: Generator, *shape: int) -> Tensor:
    try:
        rows = getattr(model.get_input_embeddings(), "num_embeddings", 0)
    except NotImplementedError:
        rows = 0
    highest = min(rows, VOCABULARY) if rows > LOWEST_ID else VOCABULARY
    return torch.randint(LOWEST_ID, highest, shape, generator=generator)


def _with_decoder(model: PreTrainedModel, generator: Generator, inputs: Inputs) -> Inputs:
    if "decoder_input_ids" in _takes(model) and getattr(model.config, "is_encoder_decoder", False):
        return inputs | {"decoder_input_ids": _ids(model, generator, LINES, DECODER_TOKENS)}
    return inputs


def text(model: PreTrainedModel, generator: Generator) -> Inputs:
    """Token ids, a mask where one is taken, and decoder ids of an encoder–decoder."""
    inputs = {"input_ids": _ids(model, generator, LINES, TOKENS)}
    if "attention_mask" in _takes(model):
        inputs["attention_mask"] = torch.ones(LINES, TOKENS, dtype=torch.long)
    return _with_decoder(model, generator, inputs)


def mels(
    model: PreTrainedModel,
    generator: Generator,
    shape: tuple[int, int] = (MELS, FRAMES),
    mask: str = "",
    mask_length: int = FRAMES,
) -> Inputs:
    """Log-mel features of two sounds, [mel, frame] or [frame, mel]."""
    inputs = {"input_features": torch.randn(LINES, *shape, generator=generator)}
    if mask:
        inputs[mask] = torch.ones(LINES, mask_length, dtype=torch.long)
    return _with_decoder(model, generator, inputs)


def samples(model: PreTrainedModel, generator: Generator, channels: tuple[int, ...] = ()) -> Inputs:
    """Two sounds as they are."""
    inputs = {"input_values": torch.randn(LINES, *channels, SAMPLES, generator=generator)}
    return _with_decoder(model, generator, inputs)


def _codebooks_as_lines(model: PreTrainedModel, generator: Generator) -> Inputs:
    return {"input_ids": _ids(model, generator, LINES * model.config.num_codebooks, TOKENS)}


def _codebooks_and_text(model: PreTrainedModel, generator: Generator) -> Inputs:
    return {"input_ids": _ids(model, generator, LINES, TOKENS, model.config.num_codebooks + 1)}


def _channels_out(model: PreTrainedModel, generator: Generator) -> Inputs:
    shape = (LINES, DECODER_TOKENS, model.config.decoder_config.num_channels)
    spoken = torch.randint(LOWEST_ID, 20, shape, generator=generator)
    return {"input_ids": torch.randint(LOWEST_ID, 100, (LINES, TOKENS), generator=generator)} | {
        "decoder_input_ids": spoken
    }


def _spectrogram(model: PreTrainedModel, generator: Generator) -> Inputs:
    shape = (LINES, model.config.max_length, model.config.num_mel_bins)
    return {"input_values": torch.randn(shape, generator=generator)}


def _boxes(model: PreTrainedModel, generator: Generator) -> Inputs:
    corners = torch.rand(LINES, TOKENS, 4, generator=generator).sort(-1).values
    return text(model, generator) | {"bbox": corners}


def _image(model: PreTrainedModel, generator: Generator, with_text: bool = True) -> Inputs:
    """One small image per line, for models that do not run without."""
    pixels = {"pixel_values": torch.randn(LINES, 3, 32, 32, generator=generator)}
    return pixels | (text(model, generator) if with_text else _with_decoder(model, generator, {}))


def _image_in_text(model: PreTrainedModel, generator: Generator, questions: bool = False) -> Inputs:
    """One small image per line, and as many tokens that stand for it as the model makes of it."""
    inputs = _image(model, generator)
    inputs["input_ids"][:, : model.config.num_query_tokens] = PLACEHOLDER
    return inputs | ({"qformer_input_ids": _ids(model, generator, LINES, 3)} if questions else {})


def _video_in_text(model: PreTrainedModel, generator: Generator) -> Inputs:
    inputs = _image_in_text(model, generator, questions=True)
    return inputs | {"pixel_values": inputs["pixel_values"][:, None]}  # a video of one image


def _image_states(model: PreTrainedModel, generator: Generator) -> Inputs:
    states = torch.randn(LINES, 1, 5, model.config.vision_config.embed_dim, generator=generator)
    seen = torch.ones(LINES, TOKENS, 1, dtype=torch.long)
    return text(model, generator) | {"image_encoder_embeddings": states, "image_attention_mask": seen}


def _image_at_start(model: PreTrainedModel, generator: Generator) -> Inputs:
    n = model.config.latent_query_num
    states = torch.randn(LINES, n, model.config.text_config.embed_dim, generator=generator)
    at = (torch.arange(TOKENS) < n).long().repeat(LINES, 1)
    return text(model, generator) | {"image_embeds": states, "image_embeds_position_mask": at}


def _patches(model: PreTrainedModel, generator: Generator) -> Inputs:
    width = model.config.vision_config.patch_embed_hidden_size
    places = torch.tensor([[row, column] for row in (1, 2) for column in (1, 2, 3)]).float()
    pixels = torch.randn(LINES, len(places), width, generator=generator)
    inputs = {"flattened_patches": torch.cat([places.repeat(LINES, 1, 1), pixels], dim=-1)}
    return _with_decoder(model, generator, inputs)


def _squares_and_text(model: PreTrainedModel, generator: Generator) -> Inputs:
    sounds = torch.randn(LINES, 1, 4 * FRAMES, MELS, generator=generator)
    return text(model, generator) | {"input_features": sounds}


def _sound_and_text(model: PreTrainedModel, generator: Generator) -> Inputs:
    return text(model, generator) | mels(model, generator, shape=(MELS, TOKENS * 8))


_FRAMES_FIRST: Maker = partial(mels, shape=(FRAMES, MELS), mask="attention_mask")
_MASKED: Maker = partial(mels, mask="input_features_mask")

# Class name or model type -> its inputs, where the signature does not tell.
INPUTS: dict[str, Maker] = {
    # The features lie the other way round, and a mask over frames is needed.
    **dict.fromkeys(
        [
            "parakeet_ctc",
            "parakeet_encoder",
            "parakeet_tdt",
            "parakeet_rnnt",
            "lasr_ctc",
            "lasr_encoder",
            "nemotron_asr_streaming",
            "nemotron_asr_streaming_encoder",
            "nemotron3_5_asr",
            "wav2vec2-bert",
            "canary",
            "cohere_asr",
            "speech_to_text",
            "SeamlessM4TForSpeechToText",
            "SeamlessM4Tv2ForSpeechToText",
        ],
        _FRAMES_FIRST,
    ),
    # The signature names token ids too, which are the decoder's or come with the sound.
    "whisper": mels,
    "WhisperForCausalLM": text,
    **dict.fromkeys(["moonshine", "moonshine_streaming", "speecht5", "speech-encoder-decoder"], samples),
    # A mask over frames is needed.
    **dict.fromkeys(
        ["audioflamingo3_encoder", "glmasr_encoder", "voxtral_encoder", "qwen2_audio_encoder"],
        _MASKED,
    ),
    # The number of features is fixed, and so is the shortest sound.
    "granite_speech5_ctc": partial(mels, shape=(64, 64), mask="attention_mask"),
    "granite_speech5_encoder": partial(mels, shape=(64, 64), mask="attention_mask"),
    "gemma4_audio": partial(mels, shape=(64, 128), mask="attention_mask"),
    "qwen3_asr_encoder": partial(mels, shape=(MELS, 200), mask="input_features_mask", mask_length=200),
    "fun_asr_nano_encoder": partial(mels, shape=(FRAMES, 7 * MELS), mask="input_features_mask"),
    "pe_audio_encoder": partial(samples, channels=(1,)),
    "audio-spectrogram-transformer": _spectrogram,
    # Several tokens at a position.
    "MusicgenForCausalLM": _codebooks_as_lines,
    "MusicgenMelodyForCausalLM": _codebooks_as_lines,
    "kyutai_speech_to_text": _codebooks_and_text,
    "dia": _channels_out,
    # Without an image or places on a page they do not run.
    "BlipForConditionalGeneration": _image,
    "vision-encoder-decoder": partial(_image, with_text=False),
    "udop": _boxes,
    "blip-2": _image_in_text,
    "instructblip": partial(_image_in_text, questions=True),
    "instructblipvideo": _video_in_text,
    "idefics": _image_states,
    "kosmos-2": _image_at_start,
    "pix2struct": _patches,
    "pp_formulanet": partial(_image, with_text=False),
    # The sound is added to the text, token for token.
    "voxtral_realtime": _sound_and_text,
    # A text tower and a sound tower.
    "clap": _squares_and_text,
}
