"""Transcripts of each block, against encoders from which the blocks above are cut off."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tiny import make_tokenizer
from tests.tiny_speech import FAMILIES, make_speech_model
from xalign import Audio
from xalign.errors import ArgumentError, ModelError
from xalign.speech import early_exit, error_rate

GENERATION = {"max_new_tokens": 5, "max_length": None, "do_sample": False}


@pytest.fixture(scope="module")
def whisper():
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(**FAMILIES["whisper"].config)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:  # what is heard has to matter for what is written
                parameter.normal_(0, 0.9 if "encoder_attn" in name else 0.3)
    processor = SimpleNamespace(feature_extractor=FAMILIES["whisper"].extractor, tokenizer=make_tokenizer())
    draw = np.random.default_rng(0).standard_normal
    return model, processor, [Audio(0.3 * draw(9000 + 900 * row), rate=16_000) for row in range(3)]


def cut_off(model, processor, recordings, layer):
    """What a copy of the model writes whose encoder ends after a block."""
    short = copy.deepcopy(model)
    short.model.encoder.layers = short.model.encoder.layers[: layer + 1]
    texts = []
    for one in recordings:
        given = processor.feature_extractor(one.at(16_000), sampling_rate=16_000, return_tensors="pt")
        ids = short.generate(**given, **GENERATION)
        texts.append(processor.tokenizer.batch_decode(ids, skip_special_tokens=True)[0].strip())
    return texts


def test_each_block_writes_what_a_shorter_encoder_does(whisper):
    model, processor, recordings = whisper
    found = early_exit(model, processor, recordings, ["a", "b", "c"], **GENERATION)
    assert found.layers == [0, 1, 2]
    expected = {layer: cut_off(model, processor, recordings, layer) for layer in range(3)}
    assert {layer: list(texts) for layer, texts in found.texts.items()} == expected
    assert expected[0] != expected[2]  # else nothing was left out
    again = early_exit(model, processor, recordings, ["a", "b", "c"], layers=[2], **GENERATION)
    assert list(again.texts[2]) == expected[2]


def test_rows_and_table(whisper):
    found = early_exit(*whisper, ["one", "two", "three"], layers=[1], **GENERATION)
    (row,) = found.to_rows()
    said = ["one", "two", "three"]
    rates = [error_rate(text, one) for text, one in zip(found.texts[1], said, strict=True)]
    assert row["cer"] == pytest.approx(np.mean(rates))
    assert found.errors(1, unit="word").shape == (3,)
    assert found.table().row_count == 1
    with pytest.raises(ArgumentError, match="layer=5"):
        found.errors(5)


@pytest.mark.parametrize(
    ("found", "said", "character", "word"),
    [
        ("the cat", "the cat", 0, 0),
        ("", "ab c", 1, 1),
        ("The CAT", "the cat", 0, 0),
        ("the hat", "the cat", 1 / 7, 1 / 2),
        ("abcd efgh", "ab", 7 / 2, 2),
    ],
)
def test_error_rates(found, said, character, word):
    assert error_rate(found, said) == pytest.approx(character)
    assert error_rate(found, said, unit="word") == pytest.approx(word)


def test_what_is_refused(whisper):
    model, processor, recordings = whisper
    with pytest.raises(ArgumentError, match="recordings has 3 entries, and references 2"):
        early_exit(model, processor, recordings, ["a", "b"])
    with pytest.raises(ArgumentError, match=r"must be blocks from 0 to 2"):
        early_exit(model, processor, recordings, ["a", "b", "c"], layers=[3])
    with pytest.raises(ModelError, match="no encoder and decoder"):
        early_exit(*make_speech_model("wav2vec2"), recordings, ["a"] * 3)
    with pytest.raises(ArgumentError, match="nothing was said"):
        error_rate("a", "")
