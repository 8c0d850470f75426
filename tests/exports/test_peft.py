"""PEFT loads what is exported, and gives the logits of `steer`."""

import json
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from tests.exports.edited import (
    FAMILIES,
    ROUNDING,
    assert_within_rounding,
    hooked_and_plain,
    logits_of,
    make,
    units_at,
    units_of_networks,
    units_of_sublayers,
    vector_at,
)
from tests.tiny import FFN, WIDTH
from xalign import Site, UnitSet, steer
from xalign.errors import MissingExtraError, ModelError
from xalign.exports import export
from xalign.model.operators import Operator
from xalign.model.write import Edit
from xalign.steering import Intervention

# PEFT says that such an adapter cannot be merged into a base without bias; docs/exports.md says it too.
pytestmark = pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed:UserWarning")

HOW = {
    "scale": {"operator": "scale", "strength": 0.5},
    "zero": {"operator": "zero"},
    "set": {"operator": "set"},
    "add": {"operator": "add"},
}


def loaded(family, folder):
    return PeftModel.from_pretrained(make(family), folder).eval()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("family", FAMILIES)
def test_units_of_four_architectures(family, how, tmp_path):
    units = units_of_networks()
    hooked, plain = hooked_and_plain(family, units, **HOW[how])
    units.export("peft", tmp_path / "adapter", make(family), **HOW[how])
    adapted = loaded(family, tmp_path / "adapter")
    assert (logits_of(adapted) - hooked).abs().max() <= ROUNDING
    (config,) = adapted.peft_config.values()
    assert config.peft_type.value == ("IA3" if how in ("scale", "zero") else "LORA")
    with adapted.disable_adapter():
        assert torch.equal(logits_of(adapted), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_double_precision_only_the_last_digits_differ(family, tmp_path):
    """In float32 a wrong term below 1e-6 would pass as rounding."""
    units = units_of_networks()
    hooked, _ = hooked_and_plain(family, units, torch.float64)
    model = make(family, torch.float64)
    units.export("peft", tmp_path / "adapter", model)
    adapted = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    assert (logits_of(adapted) - hooked).abs().max() < 1e-13


@pytest.mark.parametrize(
    ("family", "how"), [("qwen3", "scale"), ("gpt2", "set"), ("llama", "zero"), ("llama", "add")]
)
def test_units_of_what_a_sublayer_adds(family, how, tmp_path):
    units = units_of_sublayers()
    hooked, _ = hooked_and_plain(family, units, **HOW[how])
    units.export("peft", tmp_path / "adapter", make(family), **HOW[how])
    assert_within_rounding(logits_of(loaded(family, tmp_path / "adapter")), hooked)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_vector_is_a_bias(family, tmp_path):
    vector = vector_at("0.hidden", "2.hidden")
    hooked, _ = hooked_and_plain(family, vector, strength=0.5)
    vector.export("peft", tmp_path / "adapter", make(family), strength=0.5)
    assert_within_rounding(logits_of(loaded(family, tmp_path / "adapter")), hooked)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt_neox", "opt", "bloom"])
def test_an_intervention_at_several_sites_of_one_projection(family, tmp_path):
    """What is taken, given and added to the stream, in one weight; and units of a fused gate."""
    generator = torch.Generator().manual_seed(2)
    half = Operator("half", lambda values, operand: (values + operand) / 2, is_linear=True)
    edits = {
        Site("hidden", 1): Edit("add", torch.randn(WIDTH, generator=generator)),
        Site("mlp_out", 1): Edit("project", torch.randn(WIDTH, generator=generator)),
        Site("inner", 1): Edit(half, 0.5, units=[3, 7, 60]),
        Site("gate", 1): Edit("set", 0.25, units=[0, FFN - 1]),
    }
    what = Intervention("several", lambda strength: edits)
    hooked, _ = hooked_and_plain(family, what)
    export(what, "peft", tmp_path / "adapter", make(family))
    assert_within_rounding(logits_of(loaded(family, tmp_path / "adapter")), hooked)


def test_one_hot_by_hand(tmp_path):
    """Llama's down projection W, with unit 7 set to v: A is e_7, B is -W e_7, and the bias is v W e_7."""
    model = make("llama")
    units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 1.0, 2.0)])
    units.export("peft", tmp_path / "adapter", model, strength=1.5)
    column = model.model.layers[1].mlp.down_proj.weight[:, 7]
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    path = "base_model.model.model.layers.1.mlp.down_proj.lora_"
    assert tensors.keys() == {f"{path}A.weight", f"{path}B.weight", f"{path}B.bias"}
    assert tensors[f"{path}A.weight"].nonzero().tolist() == [[0, 7]]
    assert torch.equal(tensors[f"{path}B.weight"][:, 0] * tensors[f"{path}A.weight"][0, 7], -column)
    assert torch.allclose(tensors[f"{path}B.bias"], 3.0 * column, atol=1e-7)


def test_factors_by_hand(tmp_path):
    UnitSet.from_rows([("deu_Latn", "0.inner", 7, 1.0, 2.0), ("deu_Latn", "2.gate", 3, 1.0, 2.0)]).export(
        "peft", tmp_path / "adapter", make("llama"), operator="scale", strength=4.0
    )
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    assert shapes == {
        "base_model.model.model.layers.0.mlp.down_proj.ia3_l": (1, FFN),
        "base_model.model.model.layers.2.mlp.gate_proj.ia3_l": (FFN, 1),
    }
    for values, at in zip(tensors.values(), (7, 3), strict=True):
        assert values.flatten()[at] == 4 and values.sum() == FFN + 3
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["feedforward_modules"] == ["model.layers.0.mlp.down_proj"]
    assert config["task_type"] == "CAUSAL_LM"


def test_modules_of_different_ranks_share_one(tmp_path):
    rows = [("deu_Latn", "0.inner", at, 1.0, 0.5) for at in range(5)] + [("deu_Latn", "1.inner", 3, 1.0, 2.0)]
    hooked, _ = hooked_and_plain("llama", UnitSet.from_rows(rows))
    UnitSet.from_rows(rows).export("peft", tmp_path / "adapter", make("llama"))
    adapted = loaded("llama", tmp_path / "adapter")
    assert adapted.peft_config["default"].r == adapted.peft_config["default"].lora_alpha == 5
    assert_within_rounding(logits_of(adapted), hooked)


def test_a_lora_with_bias_merges_where_the_base_has_one(tmp_path):
    units = units_at("inner")
    hooked, _ = hooked_and_plain("gpt2", units)
    units.export("peft", tmp_path / "adapter", make("gpt2"))
    assert_within_rounding(logits_of(loaded("gpt2", tmp_path / "adapter").merge_and_unload()), hooked)


def test_the_model_is_left_as_it_was(tmp_path):
    model = make("qwen3").train()
    before = {name: (id(one), one.clone()) for name, one in model.named_parameters()}
    random = torch.get_rng_state()
    units_at("inner").export("peft", tmp_path / "adapter", model)
    assert model.training and torch.equal(torch.get_rng_state(), random)
    for name, one in model.named_parameters():
        assert id(one) == before[name][0] and torch.equal(one, before[name][1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_with_an_adapter_is_merged_first(tmp_path):
    units_at("inner").export("peft", tmp_path / "one", make("gpt2"))
    adapted = loaded("gpt2", tmp_path / "one")
    with pytest.raises(ModelError, match="has an adapter.*merge it first, model = model.merge_and_unload()"):
        units_at("gate").export("peft", tmp_path / "two", adapted)
    merged = adapted.merge_and_unload()
    with steer(merged, units_at("gate"), operator="zero"):
        hooked = logits_of(merged)
    units_at("gate").export("peft", tmp_path / "two", merged, operator="zero")
    found = PeftModel.from_pretrained(loaded("gpt2", tmp_path / "one").merge_and_unload(), tmp_path / "two")
    assert_within_rounding(logits_of(found), hooked)


@pytest.mark.parametrize(
    ("family", "sites", "how", "message"),
    [
        (
            "gemma3_text",
            ["1.hidden"],
            {},
            "site 1.hidden cannot be changed by weights: no Linear adds .*Gemma",
        ),
        ("gemma3_text", ["1.mlp_out"], {}, "post_feedforward_layernorm .* which no Linear gives as it is"),
        ("llama", ["1.hidden"], {"operator": "project"}, "'project' at site 1.hidden .* can add a constant"),
        ("llama", ["embed.hidden"], {}, "site embed.hidden cannot be changed by weights"),
        ("llama", ["final.hidden"], {}, "site final.hidden cannot be changed by weights"),
    ],
)
def test_what_no_weight_can_do_is_refused(family, sites, how, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        vector_at(*sites).export("peft", tmp_path / "adapter", make(family), **how)
    assert not list(tmp_path.iterdir())


def test_the_package_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="format='peft' needs peft: pip install .*train"):
        units_at("inner").export("peft", tmp_path / "adapter", make("llama"))
