"""`batch_cost`: what it depends on, who asks for it, and that the states are those of other batches."""

import pytest
import torch
from torch import nn

from tests.mixtures import make_mixture
from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs
from xalign.babel import load_babel
from xalign.errors import ModelError
from xalign.model import batch_cost as module
from xalign.model.architectures.sites import Reading, Site
from xalign.model.batch_cost import batch_cost
from xalign.model.inputs import Inputs
from xalign.model.read import read_states

LENGTHS = [40, 38, 20, 19, 18, 5, 5, 4]
LINES = [(tuple(range(row, row + length)), (True,) * length) for row, length in enumerate(LENGTHS)]


def blocks_of(width, count=4):
    return nn.Sequential(
        nn.Embedding(1000, width), nn.ModuleList(nn.Linear(width, width) for _ in range(count))
    )


def test_the_larger_the_blocks_the_less_is_padded():
    costs = [batch_cost(blocks_of(width)) for width in (8, 100, 1000, 3000)]
    assert costs == [847, 639, 40, 19]
    assert batch_cost(blocks_of(100, count=9)) == 639
    assert batch_cost(nn.Linear(1000, 1000)) == 40


def test_blocks_are_told_from_their_experts():
    mixture = make_mixture()
    blocks = mixture.model.layers
    weights = sum(one.numel() for one in blocks.parameters()) / len(blocks)
    assert batch_cost(mixture) == round(16 + 25e6 / (weights + 3e4))


def test_elsewhere_as_many_run_together_as_fit(monkeypatch):
    monkeypatch.setattr(module, "device_of", lambda model: torch.device("cuda"))
    assert batch_cost(make_model("llama")) is None
    inputs = Inputs(make_model("llama"), make_tokenizer())
    assert [one.shape for one in inputs.batches(LINES, token_budget=200)] == [(5, 40), (3, 5)]


def test_a_model_without_values_says_so():
    with torch.device("meta"), pytest.raises(ModelError, match="no weight"):
        batch_cost(nn.Linear(2, 2))


def test_a_budget_is_used_as_it_is_cheapest():
    large = Inputs(make_model("llama"), make_tokenizer())
    large._model = blocks_of(3000, count=1)
    shapes = [one.shape for one in large.batches(LINES, token_budget=200)]
    assert shapes == [(2, 40), (3, 20), (3, 5)]
    assert [one.shape for one in large.batches(LINES, token_budget=50)] == [
        (1, 40),
        (1, 38),
        (2, 20),
        (1, 18),
        (3, 5),
    ]
    assert [one.shape for one in large.batches(LINES, token_budget=200, per_batch=10**6)] == [
        (2, 40),
        (6, 20),
    ]
    assert len(large.batches(LINES)) == 1


@pytest.mark.parametrize("name", ["llama", "gpt2", "babel"])
def test_states_are_those_of_sentences_that_fill_the_budget(name):
    """The reference path: batches as they were before, as many sentences as fit."""
    model, tokenizer = load_babel("aligned") if name == "babel" else (make_model(name), make_tokenizer())
    inputs = Inputs(model, tokenizer)
    lines = inputs.encode(load_pairs("bundled", ["deu_Latn"], n=100)["deu_Latn"].sentences).lines
    full = inputs.batches(lines, token_budget=1024, per_batch=10**6)
    cheap = inputs.batches(lines, token_budget=1024, per_batch=4)
    assert len(cheap) > 2 * len(full)
    hidden, gate = Reading(Site("hidden", 1)), Reading(Site("inner", 1), "active", "mean")
    one, other = (read_states(model, batches, [hidden, gate]) for batches in (full, cheap))
    difference = (one[hidden] - other[hidden]).norm(dim=1) / one[hidden].norm(dim=1)
    assert difference.max() < 1e-5
    counts = torch.tensor([sum(pooled) for _, pooled in lines]).unsqueeze(1)
    flipped = ((one[gate] - other[gate]) * counts).abs().round().sum() / (counts.sum() * one[gate].shape[1])
    assert flipped < 1e-4
