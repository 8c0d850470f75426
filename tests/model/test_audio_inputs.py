"""Recordings through feature extractors: which states are of real frames, and what padding does."""

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from tests.tiny import make_model, make_tokenizer
from tests.tiny_speech import FAMILIES, RATE, make_speech_model, noise
from xalign import Audio, Reading, map_model
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.audio_inputs import AudioInputs
from xalign.model.inputs import TextOptions
from xalign.model.inputs_for import inputs_for
from xalign.model.read import read_states

SECONDS = (1.5, 0.83, 1.21, 0.5031)
RECORDINGS = [noise(seconds, seed) for seed, seconds in enumerate(SECONDS)]


@pytest.mark.parametrize(
    "family",
    [
        name
        if name in ("whisper", "wav2vec2", "wav2vec2, group norm", "w2v-bert")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
)
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")  # WavLM's own
def test_a_recording_in_a_batch_is_what_it_is_alone(family):
    """To 1e-5 at every layer, whatever else is in the batch; models that padding changes run singly."""
    model, extractor = make_speech_model(family)
    inputs = AudioInputs(model, extractor)
    encoded = inputs.encode(RECORDINGS)
    batches = inputs.batches(encoded.lines)
    model_map = map_model(model)
    sites = [site for kind in ("hidden", "gate", "inner") for site in model_map.sites(kind)]
    readings = [Reading(site, "value", pool) for site in sites for pool in ("mean", "last", "max")]
    together = read_states(model, batches, readings)
    is_changed = FAMILIES[family].is_changed_by_padding
    assert len(batches) == (len(RECORDINGS) if is_changed else 1)
    for row, line in enumerate(encoded.lines):
        alone = read_states(model, inputs.batches([line]), readings)
        for reading in readings:
            torch.testing.assert_close(alone[reading][0], together[reading][row], rtol=0, atol=1e-5)
    if is_changed:  # else running them singly would be for nothing
        padded = inputs._batch(encoded.lines, tuple((row,) for row in range(len(RECORDINGS))))
        forced = read_states(model, [padded], readings)
        assert max(float((forced[one] - together[one]).abs().max()) for one in readings) > 0.05


@pytest.mark.parametrize("family", ["wav2vec2", "hubert, group norm", "wavlm"])
def test_frames_are_those_that_the_model_itself_masks(family):
    model, extractor = make_speech_model(family)
    encoded = AudioInputs(model, extractor).encode(RECORDINGS)
    (batch,) = AudioInputs(model, extractor).batches(encoded.lines[:1])
    samples = [audio.samples for audio in RECORDINGS]
    mask = extractor(
        samples, sampling_rate=RATE, padding=True, return_attention_mask=True, return_tensors="pt"
    ).attention_mask
    own = model._get_feature_vector_attention_mask(batch.shape[1], mask).sum(1)
    assert list(encoded.own_tokens) == own.tolist()


def test_whispers_mask_is_every_second_one_of_its_features():
    model, extractor = make_speech_model("whisper")
    inputs = AudioInputs(model, extractor)
    encoded = inputs.encode(RECORDINGS)
    (batch,) = inputs.batches(encoded.lines)
    features = dict(batch.inputs.items())
    assert features["input_features"].shape == (4, 80, 200) and batch.shape == (4, 100)
    order = [rows[0] for rows in batch.rows]
    assert torch.equal(batch.real, features["attention_mask"][:, ::2].bool())
    assert batch.real.sum(1).tolist() == [encoded.own_tokens[row] for row in order]
    assert not batch.real.all()


def test_the_budget_counts_frames_of_the_encoder():
    model, extractor = make_speech_model("wav2vec2")
    inputs = AudioInputs(model, extractor)
    lines = inputs.encode([noise(1.0, seed) for seed in range(7)]).lines
    batches = inputs.batches(lines, token_budget=150)
    assert [batch.shape for batch in batches] == [(3, 49), (3, 49), (1, 49)]
    assert [batch.shape for batch in inputs.batches(lines, size=4)] == [(4, 49), (3, 49)]
    assert len(inputs.batches(lines + lines)[0].rows) == 7, "equal recordings share a line"
    half, _ = batches[0].halves()
    assert half.shape == (1, 49) and half.inputs["input_values"].shape == (1, RATE)
    assert half.real.all()


def test_recordings_are_resampled_to_the_extractors_rate():
    model, extractor = make_speech_model("wav2vec2")
    inputs = AudioInputs(model, extractor)
    times = np.arange(48_000) / 48_000
    high, low = Audio(np.sin(2000 * times), 48_000), Audio(np.sin(2000 * times[::3]), RATE)
    lines = inputs.encode([high, low]).lines
    values = inputs.features(lines)["input_values"]
    assert values.shape == (2, RATE)
    torch.testing.assert_close(values[0, 200:-200], values[1, 200:-200], rtol=0, atol=0.02)


def test_features_have_the_models_data_type():
    model, extractor = make_speech_model("whisper")
    inputs = AudioInputs(model.to(torch.bfloat16), extractor)
    batch = inputs.batches(inputs.encode(RECORDINGS).lines)[0]
    assert {value.dtype for value in dict(batch.inputs.items()).values()} == {torch.bfloat16, torch.int32}
    reading = Reading(map_model(model).sites("hidden")[-1], "value", "mean")
    assert read_states(model, [batch], [reading])[reading].shape == (4, 32)


def test_a_recording_longer_than_the_context_is_refused_or_cut():
    model, extractor = make_speech_model("whisper")
    inputs = AudioInputs(model, extractor)
    long = noise(2.5)
    with pytest.raises(ArgumentError, match=r"recording b in deu_Latn is 2\.5 s long.* takes 2 s; cut it"):
        inputs.encode([RECORDINGS[0], long], "deu_Latn", ids=["a", "b"])
    encoded = inputs.encode([long], options=TextOptions(truncate=True))
    assert encoded.own_tokens == (100,)


@pytest.mark.parametrize("family", ["wav2vec2", "w2v-bert"])
def test_a_recording_of_no_frame_is_refused(family):
    model, extractor = make_speech_model(family)
    with pytest.raises(ArgumentError, match=r"recording 1 in deu_Latn \(0\.006 s\)"):
        AudioInputs(model, extractor).encode([RECORDINGS[0], noise(0.00625)], "deu_Latn")


@pytest.mark.parametrize(
    "option",
    [
        *({"template": "{text}."}, {"template_pooled": True}, {"pool_special_tokens": False}),
        *({"max_length": 8}, {"source_codes": {"deu_Latn": "de"}}),
    ],
)
def test_options_of_text_are_refused(option):
    model, extractor = make_speech_model("wav2vec2")
    with pytest.raises(ArgumentError, match=f"{next(iter(option))} is for text"):
        AudioInputs(model, extractor).encode(RECORDINGS, options=TextOptions(**option))


def test_what_does_not_belong_together_is_refused():
    whisper, features = make_speech_model("whisper")
    waves, values = make_speech_model("wav2vec2")
    llama, tokenizer = make_model("llama"), make_tokenizer()
    refused = [
        (llama, features, True, ModelError, "these pairs are recordings, and LlamaForCausalLM reads text"),
        (whisper, tokenizer, True, ArgumentTypeError, "need the model's feature extractor, and a tokenizer"),
        (whisper, values, True, ArgumentError, "gives input_values, and WhisperEncoder takes input_features"),
        (waves, features, True, ArgumentError, "gives input_features, and Wav2Vec2Model takes input_values"),
        (whisper, WhisperFeatureExtractor(feature_size=128), True, ArgumentError, "gives 128 mel bins.* 80"),
        (waves, Wav2Vec2FeatureExtractor(padding_side="left"), True, ArgumentError, "must be 'right'"),
        (whisper, tokenizer, False, ModelError, "these sentences are text, and WhisperEncoder takes sound"),
        (llama, features, False, ArgumentTypeError, "WhisperFeatureExtractor, which is for sound"),
    ]
    for model, processing, is_audio, error, message in refused:
        with pytest.raises(error, match=message):
            inputs_for(model, processing, is_audio)


def test_a_processor_is_asked_for_its_feature_extractor():
    model, extractor = make_speech_model("whisper")
    processor = type("Processor", (), {"feature_extractor": extractor, "tokenizer": make_tokenizer()})()
    assert AudioInputs(model, processor).extractor is extractor


def test_the_extractor_is_left_as_it_was():
    model, extractor = make_speech_model("wav2vec2, group norm")
    before = extractor.to_dict()
    inputs = AudioInputs(model, extractor)
    inputs.batches(inputs.encode(RECORDINGS).lines)
    assert extractor.to_dict() == before
