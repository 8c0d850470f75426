"""Measuring on a CUDA device gives what measuring on the CPU gives, but for rounding."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, map_model, measure
from xalign.measurement import Measurement
from xalign.measurement.readings import readings_of
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.read import read_states

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

PAIRS = load_pairs("bundled", n=60)
METRICS = ["nasca", "navca", "mexa", "retrieval"]
FAMILIES = ["llama", "gpt2", "gemma3_text", "bert", "qwen3_moe", "qwen2_moe"]
# Rounding differs between devices. A neuron whose value is that near to 0 may be active on one of them only.
RELATIVE, MOST_FLIPPED = 1e-4, 1e-4


def states_of(family, device, source, dtype=torch.float32):
    """The pooled states of a source, per reading."""
    model = make_model(family).to(device, dtype)
    texts = PAIRS["deu_Latn"].sentences + PAIRS["zho_Hans"].sentences
    batches = make_batches(encode(make_tokenizer(), texts).lines, token_budget=512, pad_id=0)
    return read_states(model, batches, readings_of(map_model(model), source))


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", ["hidden", "neuron_values"])
def test_pooled_states_are_those_of_the_cpu(family, source, device):
    found, expected = (states_of(family, where, source) for where in (device, "cpu"))
    assert found.keys() == expected.keys()
    for reading, values in expected.items():
        assert values.norm() > 0
        assert found[reading].device.type == "cpu"
        assert relative(found[reading], values) < RELATIVE, reading


@pytest.mark.parametrize("family", FAMILIES)
def test_few_neuron_states_flip(family, device):
    """Each flip moves a pooled state by a token's weight, so that the number of flips is counted by sums."""
    found, expected = (states_of(family, where, "neuron_states") for where in (device, "cpu"))
    moved = total = 0
    for reading, values in expected.items():
        assert 0 < values.mean() < 1
        moved += int(((found[reading] - values).abs() > 1e-5).sum())
        total += values.numel()
    print(f"{family}: {moved} of {total} pooled neuron states differ")
    assert moved <= MOST_FLIPPED * total


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_cpu(family, device):
    """But where two cosines are equal up to rounding, or a neuron flips: at most one pair in all."""
    found, expected = (
        measure(make_model(family).to(where), make_tokenizer(), PAIRS, METRICS) for where in (device, "cpu")
    )
    differ = 0
    for row, of_row in expected.metrics.items():
        for code, bits in of_row.values.items():
            differ += int((found.metrics[row].values[code] != bits).sum())
    print(f"{family}: {differ} bits differ")
    assert differ <= 1
    assert found.provenance["device"].startswith(device.type)
    assert any(0 < expected.score("mexa", code) < 1 for code in PAIRS)  # not vacuous


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_half_precision_is_finite_and_near(family, dtype, device):
    """Near the same weights in float32: 8 bits of bfloat16 give about 1 % after three blocks."""
    bar = 0.05 if dtype == torch.bfloat16 else 0.01
    for source in ("hidden", "neuron_values"):
        # The router of a mixture may choose others after rounding; its neurons are then those of others.
        if family == "qwen3_moe" and source == "neuron_values":
            continue
        found, expected = states_of(family, device, source, dtype), states_of(family, "cpu", source)
        for reading, values in expected.items():
            assert found[reading].dtype == torch.float32
            assert bool(found[reading].isfinite().all())
            assert relative(found[reading], values) < bar * (3 if "moe" in family else 1), reading
    report = measure(make_model(family).to(device, dtype), make_tokenizer(), PAIRS, METRICS)
    assert all(0 <= report.score(metric, code) <= 1 for metric in METRICS[:3] for code in PAIRS)


def test_autocast_pools_in_float32(device):
    model = make_model("llama").to(device)
    with torch.autocast(device.type, torch.bfloat16):
        found = measure(model, make_tokenizer(), PAIRS, METRICS)
    expected = measure(model, make_tokenizer(), PAIRS, METRICS)
    gap = max(abs(found.score("mexa", code) - expected.score("mexa", code)) for code in PAIRS)
    assert gap <= 0.15


def test_a_model_may_move_between_devices(device):
    """One measurement, made ready once, follows its model."""
    model = make_model("llama")
    measurement = Measurement(model, make_tokenizer(), PAIRS, METRICS)
    first = measurement.run()
    model.to(device)
    moved = measurement.run()
    model.to("cpu")
    last = measurement.run()
    for row, of_row in first.metrics.items():
        for code, bits in of_row.values.items():
            assert torch.equal(last.metrics[row].values[code], bits)
            assert int((moved.metrics[row].values[code] != bits).sum()) <= 1


def test_a_model_spread_over_devices_by_accelerate(device):
    from accelerate import dispatch_model

    whole = measure(make_model("llama").to(device), make_tokenizer(), PAIRS, METRICS)
    here = 0 if device.type == "cuda" else "cpu"
    places = {"model.embed_tokens": here, "model.rotary_emb": here, "model.norm": here, "lm_head": here}
    places |= {"model.layers.0": here, "model.layers.1": "cpu", "model.layers.2": here}
    spread = dispatch_model(make_model("llama"), places, main_device=here, force_hooks=True)
    found = measure(spread, make_tokenizer(), PAIRS, METRICS)
    for row, of_row in whole.metrics.items():
        for code, bits in of_row.values.items():
            assert int((found.metrics[row].values[code] != bits).sum()) <= 1


def test_the_model_is_left_as_it_was(device):
    model = make_model("llama").to(device).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4, device=device)
    torch.manual_seed(3)
    measure(model, make_tokenizer(), PAIRS, METRICS)
    assert torch.equal(torch.rand(4, device=device), expected)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
