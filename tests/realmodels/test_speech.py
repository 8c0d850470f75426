"""Whisper base on synthetic speech: recordings of a few sentences, measured as users measure theirs."""

import numpy as np
import pytest
import torch

from tests.realmodels.speech import RATE
from xalign import Audio, ParallelPairs, Reading, measure
from xalign.model.architectures.sites import Site
from xalign.model.audio_inputs import AudioInputs
from xalign.model.read import read_states

SENTENCES = {
    "eng_Latn": ("en-us", ["The children play in the garden.", "I drink a cup of coffee.", "It rains."]),
    "deu_Latn": ("de", ["Die Kinder spielen im Garten.", "Ich trinke eine Tasse Kaffee.", "Es regnet."]),
}


@pytest.fixture(scope="module")
def spoken(speech):
    sides = {
        code: [Audio(speech(one, voice), RATE) for one in sentences]
        for code, (voice, sentences) in SENTENCES.items()
    }
    return ParallelPairs(sides)


@pytest.mark.slow
def test_whisper_is_measured_on_speech(whisper_base, spoken):
    model, processor = whisper_base
    report = measure(model.get_encoder(), processor, spoken, ["nasca", "mexa", "retrieval"], pool="mean")
    assert report.sites("mexa") == (
        Site("hidden", "embed"),
        *(Site("hidden", layer) for layer in range(5)),
        Site("hidden", "final"),
    )
    assert report.floor("mexa", "deu_Latn") is not None and report.pairs.floor_name == "log-mel"
    seconds = report.stats["eng_Latn"].seconds_per_sentence
    assert report.stats["eng_Latn"].tokens_per_sentence == pytest.approx(50 * seconds, abs=1)
    assert np.isfinite(list(report.summary().values())).all()


@pytest.mark.slow
def test_states_are_those_of_whispers_encoder(whisper_base, spoken):
    """Alone or beside others, at the end of the encoder, over the frames that are real."""
    model, processor = whisper_base
    encoder, recordings = model.get_encoder(), list(spoken["deu_Latn"].sentences)
    inputs = AudioInputs(encoder, processor)
    reading = Reading(Site("hidden", "final"), "value", "mean")
    together = read_states(encoder, inputs.batches(inputs.encode(recordings).lines), [reading])[reading]
    for row, audio in enumerate(recordings):
        given = processor(
            audio=audio.samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True
        )
        with torch.no_grad():
            states = encoder(given.input_features).last_hidden_state[0]
        alone = states[given.attention_mask[0, ::2].bool()].mean(0)
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-5)
