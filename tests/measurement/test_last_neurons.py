"""Metrics of the last token's neurons through `measure`: against hooks of torch, one sentence at a time."""

import numpy as np
import pytest
import torch

import xalign
from tests.tiny import make_model, make_tokenizer

NAMES = ["shared_neurons", "nao"]


def last_neurons(model, tokenizer, text):
    """The input of every down projection at the last token, read with hooks of torch, without padding."""
    seen = []
    handles = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0][0, -1]))
        for block in model.model.layers
    ]
    with torch.no_grad():
        model(**tokenizer(text, return_tensors="pt"))
    for handle in handles:
        handle.remove()
    return [set(values.gt(0).nonzero()[:, 0].tolist()) for values in seen], [
        set(values.abs().gt(0.4).nonzero()[:, 0].tolist()) for values in seen
    ]


@pytest.fixture(scope="module")
def measured():
    model, tokenizer = make_model("llama"), make_tokenizer()
    with torch.no_grad():
        for block in model.model.layers:  # so that some |activations| exceed .4
            block.mlp.up_proj.weight.mul_(4)
    pairs = xalign.load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=6)
    return model, tokenizer, pairs, xalign.measure(model, tokenizer, pairs, NAMES)


def test_they_are_those_of_single_forwards(measured):
    model, tokenizer, pairs, report = measured
    for language in pairs:
        bitext = pairs[language]
        for row, (pivot, other) in enumerate(zip(bitext.pivot_sentences, bitext.sentences, strict=True)):
            (p_active, p_strong), (o_active, o_strong) = (
                last_neurons(model, tokenizer, text) for text in (pivot, other)
            )
            for layer in range(3):
                one, two = p_active[layer], o_active[layer]
                shared = report.per_sentence("shared_neurons", language, layer)[row]
                assert float(shared) == pytest.approx(len(one & two) / len(one | two))
                one, two = p_strong[layer], o_strong[layer]
                assert one or two
                overlap = report.per_sentence("nao", language, layer)[row]
                assert float(overlap) == pytest.approx(2 * len(one & two) / (len(one) + len(two)))


def test_the_last_token_is_read_whatever_the_pool(measured):
    model, tokenizer, pairs, report = measured
    mean = xalign.measure(model, tokenizer, pairs, NAMES, pool="mean")
    assert report.metrics["nao"].readings == mean.metrics["nao"].readings
    for name in NAMES:
        assert report.score(name) == mean.score(name)


def test_chance_stands_beside_them(measured):
    *_, report = measured
    for name in NAMES:
        assert 0 < report.chance(name, "deu_Latn") < 1
        assert report.floor(name, "deu_Latn") is None
        assert np.isfinite(report.interval(name, "deu_Latn")).all()


def test_a_sentence_and_itself_share_all():
    texts = {"eng_Latn": ["It rains.", "Good night to you."], "deu_Latn": ["It rains.", "Good night to you."]}
    report = xalign.measure(make_model("gpt2"), make_tokenizer(), xalign.ParallelPairs(texts), NAMES)
    assert report.score("shared_neurons") == 1
