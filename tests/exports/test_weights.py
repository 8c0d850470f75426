"""Edited checkpoints: what `from_pretrained` loads gives the logits of `steer`."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tests.exports.edited import (
    FAMILIES,
    ROUNDING,
    assert_within_rounding,
    hooked_and_plain,
    logits_of,
    make,
    units_at,
    units_of_networks,
    vector_at,
)
from tests.tiny import FFN, WIDTH, make_model, make_tokenizer
from xalign import Site, UnitSet, steer
from xalign.errors import ModelError
from xalign.exports import export, fold
from xalign.model.write import Edit
from xalign.steering import Intervention

HOW = {
    "scale": {"operator": "scale", "strength": 0.5},
    "zero": {"operator": "zero"},
    "set": {"operator": "set"},
    "add": {"operator": "add"},
}
# Llama has a setting that gives its feed-forward networks biases; Qwen3 and Gemma 3 have none.
CAN_ADD = ("llama", "gpt2")


def loaded(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


@pytest.mark.thorough
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("family", FAMILIES)
def test_units_of_four_architectures(family, how, tmp_path):
    units, model = units_of_networks(), make(family)
    hooked, plain = hooked_and_plain(family, units, **HOW[how])
    if how in ("set", "add") and family not in CAN_ADD:
        with pytest.raises(ModelError, match="has no bias, and .* has no setting .* Export as 'peft'"):
            units.export("weights", tmp_path / "edited", model, **HOW[how])
        assert not list(tmp_path.iterdir())
        return
    units.export("weights", tmp_path / "edited", model, **HOW[how])
    assert (logits_of(loaded(tmp_path / "edited")) - hooked).abs().max() <= ROUNDING
    assert torch.equal(logits_of(model), plain)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_vector_is_a_bias(family, tmp_path):
    vector = vector_at("0.hidden", "2.hidden")
    hooked, _ = hooked_and_plain(family, vector, strength=0.5)
    vector.export("weights", tmp_path / "edited", make(family), strength=0.5)
    assert_within_rounding(logits_of(loaded(tmp_path / "edited")), hooked)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_double_precision_only_the_last_digits_differ(family, tmp_path):
    """In float32 a wrong term below 1e-6 would pass as rounding."""
    edits = {Site("inner", 1): Edit("scale", torch.tensor([0.5, -1.5]), units=[3, 60])}
    if family in CAN_ADD:
        edits = {
            Site("hidden", 1): Edit("add", torch.linspace(-1, 1, WIDTH)),
            Site("mlp_out", 1): Edit("scale", torch.linspace(0.5, 2, WIDTH)),
            Site("inner", 1): Edit("set", torch.tensor([0.5, -1.5]), units=[3, 60]),
            Site("attn_out", 0): Edit("zero", units=[1]),
        }
    what = Intervention("several", lambda strength: edits)
    make(family).save_pretrained(tmp_path / "plain")
    model = loaded(tmp_path / "plain", dtype=torch.float64)  # which keeps some buffers in float32
    with steer(model, what):
        hooked = logits_of(model)
    export(what, "weights", tmp_path / "edited", model)
    assert (logits_of(loaded(tmp_path / "edited", dtype=torch.float64)) - hooked).abs().max() < 1e-13


def test_zeroed_units_are_columns_of_zeros(tmp_path):
    """By hand: of all tensors, the columns of the down projections differ, and they are 0."""
    model = make("llama")
    units = UnitSet.from_rows([("deu_Latn", "1.inner", at, 1.0, 2.0) for at in (7, 30)])
    units.export("weights", tmp_path / "edited", model, operator="zero")
    saved, own = load_file(tmp_path / "edited" / "model.safetensors"), model.state_dict()
    name = "model.layers.1.mlp.down_proj.weight"
    del own["lm_head.weight"]  # the embeddings again
    assert saved.keys() == own.keys()
    assert [key for key in own if not torch.equal(saved[key], own[key])] == [name]
    assert not saved[name][:, [7, 30]].any()
    kept = [at for at in range(FFN) if at not in (7, 30)]
    assert torch.equal(saved[name][:, kept], own[name][:, kept])


def test_llama_is_switched_to_have_biases(tmp_path):
    model = make("llama")
    UnitSet.from_rows([("deu_Latn", "1.inner", 7, 1.0, 2.0)]).export("weights", tmp_path / "edited", model)
    assert json.loads((tmp_path / "edited" / "config.json").read_text())["mlp_bias"] is True
    assert json.loads((tmp_path / "edited" / "xalign_export.json").read_text())["config"] == {
        "mlp_bias": True
    }
    saved = load_file(tmp_path / "edited" / "model.safetensors")
    biases = {key: values for key, values in saved.items() if key.endswith("bias")}
    assert len(biases) == 9  # gate, up and down of three blocks
    edited = biases.pop("model.layers.1.mlp.down_proj.bias")
    assert torch.allclose(edited, 2.0 * model.model.layers[1].mlp.down_proj.weight[:, 7], atol=1e-7)
    assert not any(values.any() for values in biases.values())
    assert model.config.mlp_bias is False and model.model.layers[0].mlp.down_proj.bias is None


def test_attention_gets_biases_by_a_setting_of_its_own(tmp_path):
    units = units_at("attn_out", width=WIDTH)
    for family in ("llama", "qwen3"):
        hooked, _ = hooked_and_plain(family, units)
        units.export("weights", tmp_path / family, make(family))
        assert json.loads((tmp_path / family / "config.json").read_text())["attention_bias"] is True
        assert_within_rounding(logits_of(loaded(tmp_path / family)), hooked)
    both = {
        Site("attn_out", 0): Edit("add", torch.ones(WIDTH)),
        Site("mlp_out", 0): Edit("add", torch.ones(WIDTH)),
    }
    export(Intervention("both", lambda strength: both), "weights", tmp_path / "both", make("llama"))
    config = json.loads((tmp_path / "both" / "config.json").read_text())
    assert config["attention_bias"] is config["mlp_bias"] is True


def test_in_bfloat16_the_checkpoint_keeps_its_type(tmp_path):
    make("llama").save_pretrained(tmp_path / "plain")
    model = loaded(tmp_path / "plain", dtype=torch.bfloat16)
    units_at("inner").export("weights", tmp_path / "edited", model, operator="zero")
    edited = loaded(tmp_path / "edited")
    assert edited.dtype == torch.bfloat16
    with steer(model, units_at("inner"), operator="zero"):
        assert torch.equal(logits_of(model), logits_of(edited))


def test_an_encoder_keeps_its_class(tmp_path):
    model = make_model("bert")
    units = units_at("inner")
    with steer(model, units), torch.no_grad():
        hooked = model(input_ids=torch.arange(4, 14).reshape(2, 5)).last_hidden_state
    units.export("weights", tmp_path / "edited", model, tokenizer=make_tokenizer())
    edited = AutoModel.from_pretrained(tmp_path / "edited").eval()
    with torch.no_grad():
        found = edited(input_ids=torch.arange(4, 14).reshape(2, 5)).last_hidden_state
    assert_within_rounding(found, hooked)
    assert AutoTokenizer.from_pretrained(tmp_path / "edited")("It rains.")


ENCODED = torch.arange(4, 14).reshape(2, 5)


@pytest.mark.parametrize("site", ["1.hidden", "2.hidden", "embed.hidden"])
def test_behind_a_layer_norm_its_weight_and_bias_change(site, tmp_path):
    """BERT's hidden states are what a LayerNorm gives, also those before the first block."""
    vector, model = vector_at(site), make_model("bert")
    for how in ({}, {"operator": "project"}):
        if how:
            with pytest.raises(
                ModelError, match="LayerNorm is a norm, which has one weight for each coordinate"
            ):
                vector.export("weights", tmp_path / "projected", model, **how)
            continue
        with torch.no_grad(), steer(model, vector, strength=-1.0):
            hooked = model(input_ids=ENCODED).last_hidden_state
        vector.export("weights", tmp_path / "edited", model, strength=-1.0)
        with torch.no_grad():
            found = AutoModel.from_pretrained(tmp_path / "edited").eval()(input_ids=ENCODED).last_hidden_state
        assert_within_rounding(found, hooked)
    with pytest.raises(
        ModelError, match="is a LayerNorm, and adapters change Linear alone; export as 'weights'"
    ):
        vector.export("peft", tmp_path / "adapter", model)


def test_units_of_a_layer_norm(tmp_path):
    edits = {
        Site("hidden", "final"): Edit("set", torch.tensor([1.5, -1.0]), units=[3, 9]),
        Site("hidden", 1): Edit("add", torch.ones(WIDTH)),
    }
    what = Intervention("at the end", lambda strength: edits)
    hooked, _ = hooked_and_plain("gpt2", what)
    export(what, "weights", tmp_path / "edited", make("gpt2"))
    assert_within_rounding(logits_of(loaded(tmp_path / "edited")), hooked)
    saved = load_file(tmp_path / "edited" / "model.safetensors")
    assert saved["transformer.ln_f.weight"][[3, 9]].tolist() == [0.0, 0.0]
    assert saved["transformer.ln_f.bias"][[3, 9]].tolist() == [1.5, -1.0]


def test_a_mixture_has_no_last_linear(tmp_path):
    """Something is added after attention: by the experts, which no one Linear is."""
    with pytest.raises(ModelError, match="no Linear adds .* in a mixture several experts add"):
        vector_at("1.hidden").export("weights", tmp_path / "edited", make_model("qwen3_moe"))


def test_an_export_that_does_something_else_is_refused(tmp_path, monkeypatch):
    """What is folded is tried against the hooks, whatever was reasoned about the model."""
    real = fold.affine_of

    def wrong(*given):
        change = real(*given)
        change.scale.mul_(0.5)
        return change

    monkeypatch.setattr(fold, "affine_of", wrong)
    with pytest.raises(
        ModelError, match="does not do what steer.* does: on an example, the outputs differ by"
    ):
        units_at("inner").export("weights", tmp_path / "edited", make("llama"), operator="scale", strength=3)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_used_twice_are_refused(tmp_path):
    model = make("llama")
    model.model.layers[2].mlp.down_proj.weight = model.model.layers[1].mlp.down_proj.weight
    units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 1.0, 2.0)])
    with pytest.raises(ModelError, match="is also that of .*layers.2.mlp.down_proj|layers.1.mlp.down_proj, "):
        units.export("weights", tmp_path / "edited", model, operator="zero")


def test_experts_of_a_mixture_are_refused(tmp_path):
    model = make_model("qwen3_moe")
    units = UnitSet.from_rows([("deu_Latn", "1.expert_inner", 7, 1.0, 2.0)])
    for form in ("peft", "weights"):
        with pytest.raises(ModelError, match="site 1.expert_inner is of the experts of a mixture"):
            units.export(form, tmp_path / "edited", model, operator="zero")


def test_a_model_that_cannot_be_saved_is_refused(tmp_path):
    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = make("llama")

        def forward(self, input_ids=None, attention_mask=None):
            return self.inside(input_ids=input_ids, attention_mask=attention_mask)

    with pytest.raises(
        ModelError, match="Around has no save_pretrained; pass the model of transformers itself"
    ):
        units_at("inner").export("weights", tmp_path / "edited", Around(), operator="zero")
