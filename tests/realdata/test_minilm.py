"""A real pretrained model on real text: all-MiniLM-L6-v2 on FLORES.

The figures were given by an independent script that runs one sentence a forward; the tolerance is .02 a
cell, and the floors are exact.
"""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from xalign import Reading, load_pairs, map_model, measure
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.lexical import lexical_similarity
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.read import read_states
from xalign.statistics.intervals import layer_interval, share_interval

TOLERANCE = 0.02 + 1e-9
# NASCA of blocks 0–5, its mean; MEXA at embed, blocks 0–4, final, its mean; retrieval on final from and to
# English; floor; mean of NAVCA.
EXPECTED = {
    "fra_Latn": (
        [0.05, 0.10, 0.15, 0.12, 0.15, 0.47], 0.173,
        [0.10, 0.06, 0.08, 0.21, 0.22, 0.25, 0.76], 0.240,
        (0.80, 0.87), 0.30, 0.092,
    ),
    "deu_Latn": (
        [0.03, 0.05, 0.03, 0.03, 0.12, 0.36], 0.103,
        [0.05, 0.03, 0.03, 0.08, 0.10, 0.10, 0.60], 0.141,
        (0.67, 0.71), 0.28, 0.043,
    ),
    "swh_Latn": (
        [0.01, 0.02, 0.01, 0.00, 0.01, 0.07], 0.020,
        [0.04, 0.01, 0.01, 0.01, 0.01, 0.03, 0.28], 0.056,
        (0.42, 0.31), 0.26, 0.010,
    ),
    "rus_Cyrl": (
        [0.00, 0.00, 0.00, 0.00, 0.01, 0.02], 0.005,
        [0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.12], 0.017,
        (0.20, 0.16), 0.04, 0.000,
    ),
}  # fmt: skip


def load(dtype=torch.float32):
    folder = minilm_folder()
    return AutoModel.from_pretrained(folder, dtype=dtype), AutoTokenizer.from_pretrained(folder)


def cells(report, metric, language):
    return report.metrics[metric].values[language].double().mean(dim=1).tolist()


@pytest.fixture(scope="module")
def report(real_text):
    return measure(*load(), load_pairs(real_text / "flores200", list(EXPECTED), n=100))


@pytest.mark.parametrize("language", EXPECTED)
def test_every_cell(report, language):
    nasca, nasca_mean, mexa, mexa_mean, retrieval, floor, navca_mean = EXPECTED[language]
    assert cells(report, "nasca", language) == pytest.approx(nasca, abs=TOLERANCE)
    assert report.score("nasca", language) == pytest.approx(nasca_mean, abs=TOLERANCE)
    assert report.metrics["mexa"].layers == ("embed", 0, 1, 2, 3, 4, "final")
    assert cells(report, "mexa", language) == pytest.approx(mexa, abs=TOLERANCE)
    assert report.score("mexa", language) == pytest.approx(mexa_mean, abs=TOLERANCE)
    for direction, expected in zip(("from", "to"), retrieval, strict=True):
        found = report.per_sentence(f"retrieval_{direction}_pivot", language, "final").double().mean().item()
        assert found == pytest.approx(expected, abs=TOLERANCE)
    assert report.floor("nasca", language) == pytest.approx(floor, abs=1e-9)
    assert report.score("navca", language) == pytest.approx(navca_mean, abs=TOLERANCE)


def test_other_floors(real_text):
    """From the tokenizer alone: a floor needs no state."""
    tokenizer = load()[1]
    for code, expected in (("spa_Latn", 0.29), ("fin_Latn", 0.18)):
        pairs = load_pairs(real_text / "flores200", [code], n=100)[code]
        sides = (encode(tokenizer, text).pooled_ids for text in (pairs.pivot_sentences, pairs.sentences))
        found = weak_alignment(lexical_similarity(*sides)).double().mean().item()
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow  # bfloat16 is slow on a CPU without it
def test_bfloat16_is_near(report, real_text):
    half = measure(*load(torch.bfloat16), report.pairs)
    assert half.provenance["dtype"] == "bfloat16"
    for metric in report.metrics:
        for language in report.languages:
            assert cells(half, metric, language) == pytest.approx(
                cells(report, metric, language), abs=0.03 + 1e-9
            )


def test_shuffled_pairs_are_at_chance(report):
    mispaired = measure(*load(), report.pairs.only(["fra_Latn"]).shuffled(seed=0), ["nasca", "mexa"])
    assert mispaired.score("mexa") <= 0.02
    assert mispaired.floor("mexa") <= 0.02


@pytest.mark.slow
def test_intervals_cover(real_text):
    """500 pairs as the population, 150 draws of 100; the truth is the mean score over all draws.

    Layers are covered in at least .85 of the draws, layer means in .90, and no wider than 1.5 × the normal
    width.
    """
    languages = ["fra_Latn", "ind_Latn", "swh_Latn"]
    population = load_pairs(real_text / "flores200", languages)
    model, tokenizer = load()
    readings = [Reading(site, "active") for site in map_model(model).sites("gate")]

    def states(sentences):
        batches = make_batches(encode(tokenizer, sentences).lines, token_budget=4096, pad_id=0)
        read = read_states(model, batches, readings)
        return [read[reading] for reading in readings]

    pivot = states(population["fra_Latn"].pivot_sentences)
    generator = np.random.default_rng(0)
    draws = [generator.choice(500, size=100, replace=False) for _ in range(150)]
    for language in languages:
        sides = list(zip(pivot, states(population[language].sentences), strict=True))
        bits = np.array(
            [[weak_alignment(cosine_matrix(p[rows], o[rows])).numpy() for p, o in sides] for rows in draws]
        )  # [draw, layer, pair]
        layers = bits.mean(axis=2)
        means, truth = layers.mean(axis=1), layers.mean(axis=0)
        of_layers = np.array([[layer_interval(layer) for layer in draw] for draw in bits])
        covered = ((of_layers[..., 0] <= truth) & (truth <= of_layers[..., 1])).mean(axis=0)
        of_means = np.array([share_interval(draw.mean(axis=0)) for draw in bits])
        covered_mean = ((of_means[:, 0] <= means.mean()) & (means.mean() <= of_means[:, 1])).mean()
        width = np.median(of_means[:, 1] - of_means[:, 0]) / (3.92 * means.std(ddof=1))
        print(f"{language}: layer mean {covered_mean:.3f}, layers {covered.round(3)}, width × {width:.2f}")
        assert covered.min() >= 0.85
        assert covered_mean >= 0.90
        assert width <= 1.5
