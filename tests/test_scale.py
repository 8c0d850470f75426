"""What docs/scale.md is computed with: it follows from what was measured, and agrees with the models."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.benchmark_modules import benchmark
from tests.tiny import ROOT

MEASURED = json.loads((ROOT / "benchmarks/results/gpu_h100.json").read_text())["parts"]
FOUR = ("gate", "activation", "hidden")


@pytest.fixture(scope="module")
def scale():
    return benchmark("scale")


@pytest.mark.parametrize("shape", ["8B", "70B"])
def test_weights_are_counted_as_the_model_has_them(scale, shape):
    config = scale.config_of(shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert scale.parameters(config) == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("shape", ["1B", "8B"])
def test_states_are_counted_as_they_were_measured(scale, shape):
    """Of the pivot and one language, 100 sentences each."""
    numbers = scale.numbers_of_sentence(scale.config_of(shape), FOUR)
    assert 2 * 100 * 4 * numbers == MEASURED[f"measure {shape}"]["states_bytes"]


def test_times_by_hand(scale):
    """Two operations per weight and token; attention between tokens is less than a hundredth."""
    config = AutoConfig.for_model("llama", **scale.SHAPES["8B"][1])
    measured = MEASURED["measure 8B"]
    tokens = 201_000 * measured["tokens"]["padded"] / 600
    weights = measured["parameters"] - 2 * config.vocab_size * config.hidden_size
    seconds = 2 * weights * tokens / (measured["teraflops_per_second"]["padded"] * 1e12)
    found = scale.cost("8B", FOUR, 1)["seconds"]
    assert found == pytest.approx(seconds * measured["measured_by_bare"]["median"], rel=0.01)
    assert scale.cost("8B", FOUR, 8)["seconds"] == pytest.approx(found / 8)
    assert scale.cost("70B", FOUR, 1)["seconds"] is None
    assert scale.cost("70B", FOUR, 2)["seconds"] > 8 * found
