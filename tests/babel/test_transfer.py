"""The transfer task: learnt in English, tested in all, the model left as it is."""

import copy

import pytest
import torch

from xalign.babel import load_babel, transfer_task
from xalign.babel.splits import take_meanings
from xalign.babel.transfer import intents
from xalign.errors import ArgumentError, ArgumentTypeError

FAST = {"examples": 64, "test": 60, "epochs": 2}


@pytest.fixture(scope="module")
def babel():
    return load_babel("aligned")


@pytest.mark.thorough
def test_same_seed_same_result_and_the_model_is_left_alone(babel):
    model, tokenizer = babel
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    first = transfer_task(model, tokenizer, seed=1, **FAST)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert transfer_task(model, tokenizer, seed=1, **FAST) == first
    assert transfer_task(model, tokenizer, seed=2, **FAST) != first
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


@pytest.mark.thorough
def test_english_is_learnt_and_chance_is_the_commonest_intent(babel):
    result = transfer_task(*babel, examples=320, test=200, epochs=6)
    assert result.accuracy["eng_Latn"] > 0.6
    others = [value for code, value in result.accuracy.items() if code != "eng_Latn"]
    assert result.zero_shot == pytest.approx(sum(others) / 4)
    labels = [meaning.intent for meaning in take_meanings(200, 0, "task")]
    assert result.chance == max(map(labels.count, labels)) / 200
    assert result.zero_shot > 2 * result.chance


def test_labels_do_not_hang_on_the_sentences():
    assert len(intents()) == len(set(intents())) == 18


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"examples": 31}, ArgumentError, "examples=31 must be at least 32"),
        ({"examples": 1e3}, ArgumentTypeError, "examples=1000.0 must be a whole number"),
        ({"test": 0}, ArgumentError, "test=0 must be at least 1"),
        ({"epochs": "8"}, ArgumentTypeError, "epochs='8' must be a whole number"),
        ({"seed": None}, ArgumentTypeError, "seed=None must be a whole number"),
    ],
)
def test_bad_input(babel, arguments, error, message):
    with pytest.raises(error, match=message):
        transfer_task(*babel, **(FAST | arguments))
