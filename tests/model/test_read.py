"""Reading: pooled right, run once, and without a trace."""

import pytest
import torch
from numpy.random import RandomState
from transformers import BitsAndBytesConfig, LlamaForCausalLM

from tests.tiny import make_model
from xalign import Reading, Site, map_model
from xalign.errors import ModelError
from xalign.model.architectures.sites import POOLS
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.pool import pool, state_of, token_weights
from xalign.model.read import read_states
from xalign.model.run import run
from xalign.model.visit import visit

SENTENCES = ["Have you fed the cat?", "No.", "Whose umbrella is this?", "Nobody told us.", "No."]


@pytest.fixture
def batches(tokenizer):
    return make_batches(encode(tokenizer, SENTENCES).lines, token_budget=40, pad_id=0)


def test_position_weights():
    mask = torch.tensor([[True] * 4, [False, True, True, False]])
    assert token_weights(mask, "weighted").tolist() == [
        pytest.approx([0.1, 0.2, 0.3, 0.4]),
        pytest.approx([0, 1 / 3, 2 / 3, 0]),  # renumbered from 1 where the first token is left out
    ]
    assert token_weights(mask, "mean").tolist() == [[0.25] * 4, [0, 0.5, 0.5, 0]]
    assert token_weights(mask, "last").tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


def test_the_masked_mean_is_that_of_mid_aligns_program():
    states = torch.from_numpy(RandomState(6).randn(2, 5, 3)).float()
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    expected = [[-0.027937, -1.090623, 0.923454], [0.822665, -0.365426, 0.366948]]
    found = pool(states, token_weights(mask, "mean"), "mean").tolist()
    assert found == [pytest.approx(row, abs=1e-6) for row in expected]


def test_states_are_taken_per_token_and_then_pooled():
    """The check of reference §0.4: binarising after pooling would give (0, 1)."""
    tokens = torch.tensor([[[2.0, -1.0], [-3.0, 4.0], [1.0, 0.0]]])
    weights = token_weights(torch.ones(1, 3, dtype=torch.bool), "weighted")
    model_map = map_model(make_model("llama"))

    def pooled(state, kind="inner"):
        return pool(state_of(tokens, Reading(Site(kind, 0), state), model_map), weights, "weighted")[
            0
        ].tolist()

    assert pooled("active") == pytest.approx([4 / 6, 2 / 6])
    assert pooled("active", "gate") == pytest.approx([4 / 6, 2 / 6])
    assert pooled("abs") == pytest.approx([11 / 6, 9 / 6])
    assert pooled("value") == pytest.approx([-1 / 6, 7 / 6])
    expected = (torch.nn.functional.silu(tokens)[0] * weights[0, :, None]).sum(0)
    assert pooled("act", "gate") == pytest.approx(expected.tolist())


def test_an_activation_that_does_not_keep_signs_is_applied_first():
    model = make_model("llama", hidden_act="sigmoid")
    model_map = map_model(model)
    assert not model_map.keeps_sign(0)
    values = torch.tensor([[[-3.0, 3.0]]])
    assert state_of(values, Reading(Site("gate", 0), "active"), model_map).tolist() == [[[1.0, 1.0]]]
    assert state_of(values, Reading(Site("inner", 0), "active"), model_map).tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize("how", POOLS)
def test_pools_look_at_pooled_tokens_only(how):
    values = torch.tensor([[[99.0], [1.0], [98.0], [5.0], [3.0], [100.0]]])
    mask = torch.tensor([[False, True, False, True, True, False]])
    expected = {"weighted": (1 + 10 + 9) / 6, "mean": 3.0, "last": 3.0, "max": 5.0, "first": 1.0}[how]
    assert pool(values, token_weights(mask, how), how).item() == pytest.approx(expected)


def test_every_row_gets_its_own_state_and_equal_sentences_equal_ones(batches, tokenizer):
    model = make_model("llama")
    reading = Reading(Site("hidden", 1))
    states = read_states(model, batches, [reading])[reading]
    assert states.dtype == torch.float32
    for row, sentence in enumerate(SENTENCES):
        single = make_batches(encode(tokenizer, [sentence]).lines, token_budget=100, pad_id=0)
        alone = read_states(model, single, [reading])[reading][0]
        assert torch.allclose(states[row], alone, atol=1e-5)
    assert torch.equal(states[1], states[4])


@pytest.mark.parametrize("family", ["llama", "opt", "bert"])
def test_no_trace(family, batches):
    model = make_model(family).train()
    model.get_submodule(map_model(model).place(Site("inner", 1)).path).eval()  # a mixed state to be put back
    modes = {name: module.training for name, module in model.named_modules()}
    assert len(set(modes.values())) == 2
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with visit(model, {Site("hidden", 0): lambda x: torch.rand(1) and None}):  # a forward that draws, even so
        first = read_states(model, batches, [Reading(Site("hidden", "final"))])
    assert torch.equal(torch.rand(3), expected)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(state.requires_grad for state in first.values())
    # Dropout was off: a second reading is equal.
    second = read_states(model, batches, [Reading(Site("hidden", "final"))])
    assert all(torch.equal(first[reading], second[reading]) for reading in first)


def test_modes_are_put_back_after_an_error(batches):
    model = make_model("llama").train()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ModelError):
        read_states(model, batches, [Reading(Site("inner", 0), "abs")])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("layer", ["embed", 0, 1, 2, "final"])
def test_nan_names_its_layer(layer, batches):
    model = make_model("llama")
    broken = {
        "embed": model.model.embed_tokens.weight,
        "final": model.model.norm.weight,
    } | {number: block.mlp.up_proj.weight for number, block in enumerate(model.model.layers)}
    with torch.no_grad():
        broken[layer].fill_(torch.nan)
    # Neuron states alone would hide it: NaN > 0 is false.
    with pytest.raises(ModelError, match=rf"states at {layer}\.hidden hold NaN"):
        read_states(model, batches, [Reading(Site("gate", 0), "active")])


def test_one_forward_serves_all_readings_and_skips_the_head(batches):
    model = make_model("llama")
    calls, logits = [], []
    model.register_forward_hook(
        lambda module, args, output: (calls.append(1), logits.append(output.logits.shape))
    )
    readings = [
        Reading(Site(kind, layer), state)
        for kind, state in (("gate", "active"), ("inner", "abs"))
        for layer in range(3)
    ]
    read_states(model, batches, readings)
    assert len(calls) == len(batches)
    assert {shape[1] for shape in logits} == {1}


def test_reading_inside_a_visit_sees_what_it_changed(batches):
    model, reading = make_model("llama"), Reading(Site("inner", 1), "abs")
    with visit(model, {Site("inner", 1): torch.zeros_like}):
        assert read_states(model, batches, [reading])[reading].abs().max() == 0


def test_autocast_of_the_top_level_model_holds(batches):
    model, seen = make_model("llama"), []
    with (
        visit(model, {Site("inner", 1): lambda x: seen.append(x.dtype)}),
        torch.autocast("cpu", torch.bfloat16),
    ):
        run(model, batches[0])
    assert seen == [torch.bfloat16]
    reading = Reading(Site("inner", 1), "abs")
    with torch.autocast("cpu", torch.bfloat16):
        assert read_states(model, batches, [reading])[reading].dtype == torch.float32


def test_four_bit_weights_stay_as_they_are(batches, tmp_path):
    """On CPUs with AVX512-BF16 bitsandbytes repacks its weights in evaluation mode and rounds the scales."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    make_model("llama", hidden_size=64, intermediate_size=128, head_dim=16).save_pretrained(tmp_path)
    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=four_bit, device_map="cpu").eval()
    layers = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    for layer in layers:
        assert hasattr(layer, "support_avx512bf16_for_cpu")
        layer.support_avx512bf16_for_cpu = True  # as on such a CPU
    before = [layer.weight.data.clone() for layer in layers]
    read_states(model, batches, [Reading(Site("inner", 2))])
    assert len(layers) == 3 * 7
    for layer, weight in zip(layers, before, strict=True):
        assert torch.equal(layer.weight.data, weight)
        assert not getattr(layer.weight.quant_state, "packing_format_for_cpu", False)
        assert not layer.training
