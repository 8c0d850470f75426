"""Whisper base: the conversion, checked by what the model does."""

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from tests.realmodels.speech import RATE
from tests.realmodels.whisper import whisper_folder

# A sentence -> words of it that are recognised; synthetic speech is hard for a small model.
SPOKEN = {
    "en": ("The weather is beautiful today, and the children are playing in the garden.", "children garden"),
    "de": ("Das Wetter ist heute schön, und die Kinder spielen im Garten.", "und die im Garten"),
    "es": ("Hoy hace buen tiempo y los niños juegan en el jardín.", "tiempo niños juegan jardín"),
}


def transcribe(whisper_base, samples, **options):
    model, processor = whisper_base
    batch = processor(audio=samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
    found = model.generate(
        batch.input_features, attention_mask=batch.attention_mask, do_sample=False, num_beams=1, **options
    )
    return processor.batch_decode(found, skip_special_tokens=True)[0]


def test_its_sizes(whisper_base):
    model, processor = whisper_base
    config = model.config
    assert (config.d_model, config.encoder_layers, config.decoder_layers) == (512, 6, 6)
    assert (config.encoder_ffn_dim, config.encoder_attention_heads, config.vocab_size) == (2048, 8, 51865)
    assert sum(parameter.numel() for parameter in model.parameters()) == 72_593_920
    assert model.dtype == torch.float32 and not model.training
    assert processor.feature_extractor.feature_size == config.num_mel_bins == 80
    assert len(model.generation_config.lang_to_id) == 99


def test_the_encoder_hears(whisper_base):
    """States are finite, 1,500 for half a minute, and differ between noise and silence."""
    model, processor = whisper_base
    noise = 0.1 * torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0)).numpy()
    features = processor(audio=[noise, 0 * noise], sampling_rate=RATE, return_tensors="pt").input_features
    with torch.no_grad():
        states = model.get_encoder()(features).last_hidden_state
    assert states.shape == (2, 1500, 512)
    assert states.isfinite().all()
    assert (states[0, :100] - states[1, :100]).norm(dim=1).min() > 1


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_decoder_prefers_a_sentence_to_its_words_in_another_order(whisper_base, language):
    model, processor = whisper_base
    sentence = SPOKEN[language][0]
    shuffled = " ".join(reversed(sentence.split()))
    start = f"<|startoftranscript|><|{language}|><|transcribe|><|notimestamps|>"
    states = torch.zeros(1, 1500, 512)
    losses = []
    for text in (sentence, shuffled):
        ids = processor.tokenizer(f"{start} {text}", add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(encoder_outputs=(states,), decoder_input_ids=ids).logits
        losses.append(torch.nn.functional.cross_entropy(logits[0, 3:-1], ids[0, 4:]).item())
    assert losses[0] < losses[1] - 1, losses


@pytest.mark.parametrize("language", SPOKEN)
def test_it_transcribes_speech(whisper_base, speech, language):
    sentence, words = SPOKEN[language]
    text = transcribe(whisper_base, speech(sentence, language), language=language, task="transcribe")
    assert set(words.split()) <= set(text.replace(".", " ").replace(",", " ").split()), text


def test_it_hears_which_language_is_spoken(whisper_base, speech):
    model, processor = whisper_base
    sounds = [speech(sentence, language) for language, (sentence, _) in SPOKEN.items()]
    features = processor(audio=sounds, sampling_rate=RATE, return_tensors="pt").input_features
    heard = model.detect_language(features)
    assert processor.tokenizer.convert_ids_to_tokens(heard) == [f"<|{language}|>" for language in SPOKEN]


def test_transformers_loads_the_folder_by_itself(whisper_base):
    model, processor = whisper_base
    loaded = AutoModel.from_pretrained(whisper_folder(), dtype=torch.float32)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[f"model.{name}"]), name
    assert type(AutoProcessor.from_pretrained(whisper_folder())) is type(processor)
