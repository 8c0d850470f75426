"""`batch_cost`: what it depends on, who asks for it, and that the states are those of other batches."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.pairs_of_stacks import make_pair
from tests.tiny import WIDTH, make_model, make_tokenizer
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


class OfWidth(nn.Linear):
    """A model that says how wide it is."""

    def __init__(self, width):
        super().__init__(2, 2)
        self.config = SimpleNamespace(hidden_size=width)


def test_the_larger_the_blocks_the_less_is_padded():
    assert [batch_cost(OfWidth(width)) for width in (8, 100, 1000, 10_000)] == [829, 183, 18, 16]
    assert batch_cost(nn.Linear(2, 2)) == 849  # of a model without a config, nothing is known


@pytest.mark.parametrize("make", [make_model, make_pair], ids=["one stack", "two"])
def test_every_config_is_asked_for_its_width(make):
    names = ["gpt2", "bert"] if make is make_model else ["t5", "m2m_100"]
    assert [batch_cost(make(name)) for name in names] == [batch_cost(OfWidth(WIDTH))] * 2


def test_a_model_with_and_without_adapters_gets_the_same_batches():
    model = make_model("llama")
    before = batch_cost(model)
    adapted = get_peft_model(model, LoraConfig(r=64, target_modules="all-linear"))
    assert batch_cost(adapted) == before == 607


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
    large._model = OfWidth(10_000)
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


@pytest.mark.thorough
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
