"""MEXA's two programs, written by hand, beside `measure`: the same number for every layer."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign import load_pairs, measure

PAIRS = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=8)


@torch.no_grad()
def embeddings(model, tokenizer, sentences, last):
    """Per layer a vector per sentence: one sentence in a forward, every hidden state, special tokens too."""
    found = []
    for text in sentences:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
        weights = np.arange(1, ids.shape[1] + 1)
        if last:
            weights = np.eye(ids.shape[1])[-1]
        found.append([(weights / weights.sum()) @ one[0].numpy().astype(np.float64) for one in states])
    return list(zip(*found, strict=True))


def score(pivot, language):
    """The share of pairs whose cosine is above all others of its row and of its column."""
    n = len(pivot)
    similar = [[1 - cosine(one, other) for other in language] for one in pivot]
    hits = 0
    for i in range(n):
        rivals = [similar[i][j] for j in range(n) if j != i] + [similar[j][i] for j in range(n) if j != i]
        hits += similar[i][i] > max(rivals)
    return hits / n


@pytest.mark.parametrize("pool", ["weighted", "last"])
def test_the_score_of_every_layer_is_that_of_the_programs(pool):
    model, tokenizer = make_model("llama"), make_tokenizer()
    report = measure(model, tokenizer, PAIRS, ["mexa"], pool=pool)
    assert report.metrics["mexa"].layers == ("embed", *range(LAYERS - 1), "final")
    for code, bitext in PAIRS.items():
        sides = (
            embeddings(model, tokenizer, side, pool == "last")
            for side in (bitext.pivot_sentences, bitext.sentences)
        )
        expected = [score(*layer) for layer in zip(*sides, strict=True)]
        rows = [row for row in report.to_rows(over=()) if row["language"] == code]
        assert [row["value"] for row in rows] == expected
        assert 0 < sum(expected) < len(expected)  # a test of zeros would show nothing
        assert report.score("mexa", code) == pytest.approx(np.mean(expected), abs=1e-12)
        assert report.score("mexa", code, over="max") == max(expected)
