"""Commands on recordings: the model's feature extractor is loaded in place of its tokenizer."""

import json

import pytest
from scipy.io import wavfile
from transformers import WhisperModel

from tests.cli.typed import xalign
from tests.tiny_speech import RATE, make_audio_pairs, make_speech_model

COMMON = ("--device", "cpu", "--pool", "mean")


@pytest.fixture(scope="module", params=["wav2vec2", "whisper"])
def folders(request, tmp_path_factory):
    """Return the folders of a model with its feature extractor, and of recordings."""
    model, extractor = make_speech_model(request.param)
    # A checkpoint of Whisper holds its decoder too.
    model = WhisperModel(model.config) if request.param == "whisper" else model
    folder, speech = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("speech")
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    pairs = make_audio_pairs()
    for bitext in pairs.values():
        for code, recordings in (
            (bitext.pivot, bitext.pivot_sentences),
            (bitext.language, bitext.sentences),
        ):
            (speech / code).mkdir(exist_ok=True)
            for number, audio in enumerate(recordings):
                wavfile.write(speech / code / f"{number}.wav", RATE, audio.samples)
    return folder, speech


def test_measure_and_doctor(folders):
    model, speech = folders
    done = xalign("measure", model, "--pairs", speech, "--metrics", "nasca,mexa", *COMMON, "--json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["language"] for row in rows} == {*make_audio_pairs()}
    assert {row["metric"] for row in rows} == {"nasca", "mexa"}
    done = xalign("doctor", model, "--pairs", speech, *COMMON)
    assert done.exit_code == 0, done.stderr
    assert "FeatureExtractor, 16,000 samples a second" in done.stdout
    assert "frames: about" in done.stdout and "would run" in done.stdout


def test_units_are_found_in_speech(folders, tmp_path):
    model, speech = folders
    done = xalign("experts", model, "--pairs", speech, "--out", tmp_path / "units", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "units").is_dir()


def test_text_for_a_speech_model_is_refused(folders):
    refused = xalign("measure", folders[0], "--pairs", "bundled", "--n", 6, "--device", "cpu")
    assert refused.exit_code == 2
    assert "which text needs, of model" in refused.stderr or "takes sound: give" in refused.stderr


def test_weights_that_are_not_there_are_refused(tmp_path):
    model, extractor = make_speech_model("whisper")
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    refused = xalign("doctor", tmp_path, "--device", "cpu")
    assert refused.exit_code == 2
    assert "does not hold 117 of the weights of its blocks" in refused.stderr
