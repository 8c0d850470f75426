"""Sequences of a real forward, against transformers' own hidden states and plain loops."""

import json

import numpy as np
import pytest
import torch

from tests.metrics.test_seq_sim import by_hand
from tests.tiny import make_model, make_tokenizer
from tests.tiny_speech import make_audio_pairs, make_speech_model
from xalign import ParallelPairs, load_pairs
from xalign.errors import ArgumentError
from xalign.speech import measure_sequences
from xalign.statistics.wilson import wilson_interval

N = 5


@pytest.fixture(scope="module")
def text():
    pairs = load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=N)
    return make_model("llama"), make_tokenizer(), pairs


def test_against_transformers(text):
    model, tokenizer, pairs = text
    found = measure_sequences(model, tokenizer, pairs)

    def hidden(sentence):
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            return [layer[0] for layer in model(ids, output_hidden_states=True).hidden_states]

    bitext = pairs["de"]
    pivot, own = ([hidden(one) for one in side] for side in (bitext.pivot_sentences, bitext.sentences))
    names = {"embed": 0, 0: 1, 1: 2, "final": 3}  # the last block before its norm is in no hidden state
    for layer, place in names.items():
        expected = np.array([[by_hand(a[place], b[place]) for b in own] for a in pivot])
        at = list(found.layers).index(layer)
        assert found.similarity["deu_Latn"][at].numpy() == pytest.approx(expected, abs=1e-5)
        rows, columns = expected.argmax(axis=1), expected.argmax(axis=0)
        assert found.bits("seq_from_pivot", "de", layer).tolist() == (rows == np.arange(N)).tolist()
        assert found.bits("seq_to_pivot", "de", layer).tolist() == (columns == np.arange(N)).tolist()


def test_rows_and_table(text):
    found = measure_sequences(*text)
    rows = found.to_rows()
    assert len(rows) == 3 * 2 * len(found.layers)
    json.dumps(rows)
    for row in rows:
        bits = found.bits(row["metric"], row["language"], row["layer"])
        assert row["value"] == pytest.approx(bits.double().mean())
        assert (row["low"], row["high"]) == pytest.approx(wilson_interval(int(bits.sum()), N))
        assert row["chance"] == pytest.approx(1 / 9 if row["metric"] == "seq_both" else 1 / N)
    assert found.table().row_count == 6


def test_a_language_beside_itself_is_found(text):
    model, tokenizer, pairs = text
    same = ParallelPairs({"en": pairs["de"].pivot_sentences, "de": pairs["de"].pivot_sentences})
    found = measure_sequences(model, tokenizer, same, f_measure=False)
    assert found.bits("seq_both", "de", 1).all()


def test_recordings_have_a_state_per_frame():
    pairs = make_audio_pairs(n=3, languages=("eng_Latn", "deu_Latn"))
    found = measure_sequences(*make_speech_model("whisper"), pairs)
    assert found.similarity["deu_Latn"].shape == (len(found.layers), 3, 3)
    assert found.layers[-1] == "final"


def test_what_is_refused(text):
    model, tokenizer, pairs = text
    own = ParallelPairs.from_bitexts([pairs["de"].first(3), pairs["zh"].rows([2, 3, 4])])
    with pytest.raises(ArgumentError, match="other pivot sentences"):
        measure_sequences(model, tokenizer, own)
    found = measure_sequences(model, tokenizer, pairs.first(2))
    with pytest.raises(ArgumentError, match="there are seq_from_pivot"):
        found.bits("mexa", "de", 0)
    with pytest.raises(ArgumentError, match="layer=99"):
        found.bits("seq_both", "de", 99)
