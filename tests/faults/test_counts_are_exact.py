"""Language neurons are counted, not averaged: equal counts are equal, whatever the arithmetic."""

import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import load_pairs
from xalign.errors import ArgumentError, ModelError
from xalign.finding.label_sums import counted
from xalign.finding.language_neurons import language_neurons
from xalign.metrics.lape import lape
from xalign.model.architectures.sites import Site

BUNDLED = load_pairs("bundled").texts
SHARE, BAR = 0.1, 0.95


def drawn_texts(seed):
    """5 to 20 sentences of each of three to five languages, as many of each or not."""
    draw = random.Random(seed)
    labels = draw.sample(sorted(BUNDLED), draw.randint(3, 5))
    return {label: draw.sample(BUNDLED[label], draw.randint(5, 20)) for label in labels}


def counts_by_hand(model, texts):
    """Label -> (how often each neuron's gate is above 0, tokens), in whole numbers, sentence by sentence."""
    counted = {}
    for label, sentences in texts.items():
        fired, tokens, seen = [0] * (LAYERS * FFN), 0, []
        handles = [
            block.mlp.gate_proj.register_forward_hook(lambda *args, seen=seen: seen.append(args[2][0]))
            for block in model.model.layers
        ]
        for text in sentences:
            seen.clear()
            with torch.no_grad():
                model(input_ids=torch.tensor([make_tokenizer()(text)["input_ids"]]))
            tokens += len(seen[0])
            for at, count in enumerate(torch.cat([(one > 0).sum(dim=0) for one in seen]).tolist()):
                fired[at] += count
        for handle in handles:
            handle.remove()
        counted[label] = (fired, tokens)
    return counted


def lape_by_hand(counted):
    """Label -> its neurons: the bar in fractions, entropies to 12 decimals, of equal ones the lower index."""
    shares = [[Fraction(one, tokens) for one in fired] for fired, tokens in counted.values()]
    every = sorted(share for row in shares for share in row)
    bar = every[max(1, round(BAR * len(every))) - 1]
    entropies = []
    for at in range(LAYERS * FFN):
        own = [row[at] for row in shares]
        if max(own) > bar:
            parts = [float(one / sum(own)) for one in own if one]
            entropies.append((round(-math.fsum(part * math.log(part) for part in parts), 12), at))
    chosen = [at for _, at in sorted(entropies)[: round(SHARE * LAYERS * FFN)]]
    return {label: {at for at in chosen if row[at] > bar} for label, row in zip(counted, shares, strict=True)}


@pytest.mark.thorough
@pytest.mark.parametrize("seeds", [range(9, 20), pytest.param(range(32), marks=pytest.mark.slow)])
def test_neurons_are_those_of_whole_counts(seeds):
    """Means in float32 gave neurons of equal counts different shares, and the bar fell between them."""
    wrong = []
    for seed in seeds:
        texts, model = drawn_texts(seed), make_model("llama", seed=seed)
        expected = lape_by_hand(counts_by_hand(model, texts))
        assert sum(map(len, expected.values()))
        units = language_neurons(model, make_tokenizer(), texts, share=SHARE, bar=BAR)
        found = {
            label: {row.site.layer * FFN + row.index for row in units if row.label == label}
            for label in texts
        }
        wrong += [seed] if found != expected else []
    assert not wrong


@given(st.lists(st.integers(1, 300), min_size=2, max_size=12), st.integers(0, 2**32 - 1))
def test_counts_are_exact_whatever_the_lengths(tokens, seed):
    """The mean of each sentence was rounded to float32 before it was weighted."""
    draw = random.Random(seed)
    fired = [[draw.randint(0, n) for _ in range(5)] for n in tokens]
    means = torch.tensor([[one / n for one in row] for row, n in zip(fired, tokens, strict=True)])
    counts = counted(means, torch.tensor(tokens), Site("gate", 0))
    assert counts.tolist() == fired


def test_a_count_that_cannot_be_told_is_refused():
    """A mean that is off by half a token was rounded to a count like any other."""
    means = torch.tensor([[0.505], [0.5]])
    with pytest.raises(ModelError, match=r"cannot be counted.*allow_tf32 = False"):
        counted(means, torch.tensor([100, 100]), Site("gate", 0))


def test_probabilities_outside_0_and_1_are_refused_with_the_way_out():
    """`lape` refused released data (up to 1.001) without a way out; `language_neurons` cut it off unsaid."""
    probability = torch.rand(3, 200)
    probability[0, 0] = 1.001
    with pytest.raises(ArgumentError, match=r"to 1\.001\..*pass probability\.clamp\(0, 1\)"):
        lape(probability)
    assert len(lape(probability.clamp(0, 1)).chosen)
