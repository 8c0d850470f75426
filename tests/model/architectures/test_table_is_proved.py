"""A name of an architecture proves nothing: what stands under it is mapped by proof."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.bert.modeling_bert import BertIntermediate

from tests.tiny import FAMILIES, LAYERS, make_model
from xalign import Site, map_model
from xalign.model.architectures import map as mapping
from xalign.model.architectures import proved
from xalign.model.architectures.proved import NotRun
from xalign.model.architectures.table import LAYOUTS, is_override

# gate, activation, down, attn_out, mlp_out in a block; whether gate and up are one matrix; the final norm.
LLAMA = "mlp.gate_proj", "mlp.act_fn", "mlp.down_proj", "self_attn", "mlp", False, "norm"
AFTER = (*LLAMA[:3], "post_attention_layernorm", "post_feedforward_layernorm", *LLAMA[5:])
GLM = "mlp.gate_up_proj", "mlp.activation_fn", "mlp.down_proj", "self_attn", "mlp", True, "norm"
BERT = (
    *("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"),
    *("attention.output.dropout", "output.dropout", False, ""),
)
OLD_TABLE = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
    **dict.fromkeys(("gemma2", "gemma3_text", "olmo2"), AFTER),
    "glm": GLM,
    "glm4": (*GLM[:3], "post_self_attn_layernorm", "post_mlp_layernorm", *GLM[5:]),
    "phi3": (*GLM[:3], "resid_attn_dropout", "resid_mlp_dropout", *GLM[5:]),
    "gpt2": ("mlp.c_fc", "mlp.act", "mlp.c_proj", "attn", "mlp", False, "ln_f"),
    "gpt_neox": (
        *("mlp.dense_h_to_4h", "mlp.act", "mlp.dense_4h_to_h", "post_attention_dropout"),
        *("post_mlp_dropout", False, "final_layer_norm"),
    ),
    "bloom": (
        *("mlp.dense_h_to_4h", "mlp.gelu_impl", "mlp.dense_4h_to_h", "self_attention.dense"),
        *("mlp.dense_4h_to_h", False, "ln_f"),
    ),
    "opt": ("fc1", "activation_fn", "fc2", "self_attn", "fc2", False, "final_layer_norm"),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), BERT),
    "modernbert": ("mlp.Wi", "mlp.act", "mlp.Wo", "attn", "mlp", True, "final_norm"),
}


def test_the_table_overrides_nothing():
    """A row of xalign's own is taken only for a model that cannot be run."""
    assert set(OLD_TABLE) == set(LAYOUTS) == set(FAMILIES)
    assert not [name for name, layout in LAYOUTS.items() if is_override(name, layout)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sites_are_those_of_the_table_before(family):
    gate, act, down, attn_out, mlp_out, fused, final = OLD_TABLE[family]
    model_map = map_model(make_model(family))
    assert (model_map.model_type, model_map.n_layers) == (family, LAYERS)
    for layer, block in enumerate(model_map.blocks):
        for kind, path, side in (
            ("gate", gate, "output"),
            ("inner", down, "input"),
            ("attn_out", attn_out, "output"),
            ("mlp_out", mlp_out, "output"),
        ):
            place = model_map.place(Site(kind, layer))
            assert place.module is block.get_submodule(path)
            assert (place.side, place.columns) == (
                side,
                slice(0, model_map.ffn_width) if fused and kind == "gate" else None,
            )
        assert model_map.activation(layer).module is block.get_submodule(act)
        assert model_map.place(Site("hidden", layer)).module is block
    assert model_map.place(Site("hidden", "embed")).module is model_map.blocks[0]
    assert model_map.final[1].rpartition(".")[2] == (final or str(LAYERS - 1))
    assert model_map.layout == LAYOUTS[family]  # reports name it, and are compared by it


class Deeper(BertIntermediate):
    """One more projection in front of the activation function; the name of the first is as in BERT."""

    def __init__(self, config):
        super().__init__(config)
        self.extra = nn.Linear(config.intermediate_size, config.intermediate_size)

    def forward(self, states):
        return self.intermediate_act_fn(self.extra(self.dense(states)))


class Mixed(BertIntermediate):
    """Its neurons are of all tokens before theirs."""

    def forward(self, states):
        return F.gelu(self.dense(states)).cumsum(1)


def variant(kind):
    torch.manual_seed(0)
    model = make_model("bert")
    for layer in model.encoder.layer if hasattr(model, "encoder") else model.bert.encoder.layer:
        layer.intermediate = kind(model.config)
    return model.eval()


def test_a_variant_under_a_known_name_is_mapped_as_it_is():
    """Its gate was read where BERT has it, and was wrong by 99 %."""
    model_map = map_model(variant(Deeper))
    assert model_map.model_type == "bert"
    assert model_map.place(Site("gate", 1)).path.endswith("layer.1.intermediate.extra")


def test_a_variant_under_a_known_name_that_has_no_neurons():
    model_map = map_model(variant(Mixed))
    assert "cumsum" in model_map.refused("inner") and model_map.refused("gate")
    assert len(model_map.sites("hidden")) == LAYERS + 2


def test_a_row_is_taken_where_a_model_cannot_be_run(monkeypatch):
    model = make_model("llama").to("meta")
    assert map_model(model).place(Site("inner", 2)).path == "model.layers.2.mlp.down_proj"
    broken = make_model("llama")
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    monkeypatch.setattr(proved, "_COMMON", {})  # so that no map of another model is taken
    with pytest.raises(NotRun, match="is not finite"):
        mapping.proved_stacks(broken)
    assert map_model(broken).place(Site("inner", 2)).path == "model.layers.2.mlp.down_proj"


def test_models_of_one_kind_are_run_once(monkeypatch):
    """Equal configs of transformers' own classes share what was proved; a model of one's own does not."""
    runs = []
    run = proved._run
    monkeypatch.setattr(proved, "_run", lambda model: runs.append(model) or run(model))
    monkeypatch.setattr(proved, "_COMMON", {})
    for _ in range(2):
        assert map_model(make_model("llama")).n_layers == LAYERS
    assert len(runs) == 1
    map_model(make_model("llama", hidden_act="gelu"))
    map_model(make_model("llama").to(torch.bfloat16))
    assert len(runs) == 3
    for _ in range(2):
        map_model(variant(Deeper))
    assert len(runs) == 5


def test_hooks_of_the_user_are_not_called(monkeypatch):
    model, called = make_model("llama"), []
    model.model.layers[0].register_forward_hook(lambda *_: called.append(1))
    model.model.layers[0].register_forward_pre_hook(lambda *_: called.append(2))
    before = [
        list(held)
        for held in (model.model.layers[0]._forward_hooks, model.model.layers[0]._forward_pre_hooks)
    ]
    assert map_model(model).n_layers == LAYERS
    assert not called
    after = [
        list(held)
        for held in (model.model.layers[0]._forward_hooks, model.model.layers[0]._forward_pre_hooks)
    ]
    assert before == after
    model(torch.arange(4, 9)[None])
    assert called == [2, 1]
