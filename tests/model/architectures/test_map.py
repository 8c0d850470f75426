import re
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from tests.tiny import FFN, LAYERS, WIDTH, make_model
from xalign import Layout, Site, map_model, register_layout, visit
from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.architectures.table import LAYOUTS


class Unknown(LlamaForCausalLM):
    """Takes its token ids under a name that nobody knows."""

    def forward(self, tokens, **kwargs):
        return super().forward(input_ids=tokens, **kwargs)


def unknown_model():
    """A Llama under another name that declares no blocks, and that xalign does not know how to run."""
    model = make_model("llama")
    model.__class__ = Unknown
    for module in model.modules():
        if hasattr(module, "config"):
            module._can_record_outputs = None
            module.config.__class__ = type("Config", (type(module.config),), {"model_type": "mystery"})
    return model


LLAMA = Layout("layers", "mlp.gate_proj", "mlp.act_fn", "mlp.down_proj", "self_attn", "mlp", ("norm",))
PATHS = ("blocks", "gate", "act", "down", "attn_out", "mlp_out")


def test_what_a_map_says():
    model_map = map_model(make_model("phi3").to(torch.bfloat16))
    assert (model_map.n_layers, model_map.width, model_map.ffn_width) == (LAYERS, WIDTH, FFN)
    assert model_map.dtype == torch.bfloat16
    text = str(model_map)
    for part in (
        "phi3: 3 blocks, width 32",
        "model.layers.0.mlp.down_proj (80)",
        "first half",
        "SiLUActivation",
    ):
        assert part in text
    assert [str(site) for site in model_map.sites("hidden")] == [
        *("embed.hidden", "0.hidden", "1.hidden", "2.hidden", "final.hidden")
    ]
    assert [str(site) for site in model_map.sites("gate")] == ["0.gate", "1.gate", "2.gate"]


def test_an_unknown_architecture_names_the_override(registered):
    model = unknown_model()
    with pytest.raises(ModelError, match=r"model_type mystery.*register_layout\('mystery', Layout\(blocks="):
        map_model(model)
    registered("mystery", LLAMA)
    place = map_model(model).place(Site("inner", 2))
    assert (place.path, place.side, place.width) == ("model.layers.2.mlp.down_proj", "input", FFN)


def test_the_advice_for_an_unknown_architecture_can_be_followed(registered):
    """The import it names works, and the call it names needs only the paths."""
    model = unknown_model()
    registered("mystery", LLAMA)
    del LAYOUTS["mystery"]
    with pytest.raises(ModelError) as error:
        map_model(model)
    advised = re.search(r"(from xalign import [\w, ]+); (register_layout\(.*\))$", str(error.value))
    assert advised
    names = {}
    exec(advised[1], names)
    paths = {f"{name}=...": f"{name}={getattr(LLAMA, name)!r}" for name in PATHS}
    call = advised[2]
    for blank, path in paths.items():
        assert blank in call
        call = call.replace(blank, path)
    exec(call, names)
    assert map_model(model).place(Site("inner", 2)).path == "model.layers.2.mlp.down_proj"


def test_a_layout_that_does_not_fit(registered):
    model = make_model("llama")
    for changes, message in (
        ({"gate": "mlp.wi"}, "block 0 has no module 'mlp.wi'"),
        ({"fused": True}, "gate gives 40 values where the down projection takes 80"),
        ({"blocks": "decoder.blocks"}, "not an architecture xalign knows"),
    ):
        registered("llama", replace(LLAMA, **changes))
        with pytest.raises(ModelError, match=message):
            map_model(model)
    with pytest.raises(ArgumentTypeError, match=r"layout must be an xalign\.Layout"):
        register_layout("llama", {"blocks": "layers"})
    with pytest.raises(ArgumentTypeError, match="model_type='' must be the model_type of a config"):
        register_layout("", LLAMA)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"gate": "mlp.up_proj"}, r"block 0, inner: act\(gate\) · up = inner is off by 1"),
        (
            "phi3",
            {"fused": False, "gate": "mlp.down_proj", "down": "mlp.down_proj"},
            "gives 32 values where the down",
        ),
        (
            "gemma2",
            {"mlp_out": "mlp"},
            "block 0, .*: input, with attn_out .* added as traced = output is off by",
        ),
        ("olmo2", {"attn_out": "self_attn"}, r"finds it at output of .*post_attention_layernorm"),
        (
            "bert",
            {"attn_out": "attention.self.query"},
            r"is off by .* at what encoder.layer.0.attention.*LayerNorm is given",
        ),
        ("gpt_neox", {"mlp_out": "attention.dense"}, "mlp_out added as traced = output is off by"),
    ],
)
def test_a_layout_that_an_equation_refutes(registered, family, changes, message):
    registered(family, replace(LAYOUTS[family]))
    assert map_model(make_model(family)).n_layers == LAYERS
    registered(family, replace(LAYOUTS[family], **changes))
    with pytest.raises(ModelError, match=message):
        map_model(make_model(family))


def test_a_layout_holds_in_each_data_type(registered):
    """A map proved in bfloat16 was kept, and its equations did not hold to the precision of float32."""
    for dtype in (torch.bfloat16, torch.float32, torch.float16):
        registered("llama", replace(LAYOUTS["llama"]))
        assert map_model(make_model("llama").to(dtype)).dtype == dtype
    model = make_model("llama").to(torch.bfloat16)
    assert map_model(model).n_layers == LAYERS
    registered("llama", replace(LAYOUTS["llama"]))
    assert map_model(model.float()).n_layers == LAYERS


def test_what_is_no_transformer():
    with pytest.raises(ModelError, match=r"Linear \(no model_type\) is not an architecture"):
        map_model(nn.Linear(2, 2))
    with pytest.raises(ArgumentTypeError, match="must be a torch module, not str"):
        map_model("gpt2")


def test_an_encoder_and_a_decoder_are_two_stacks():
    config = T5Config(d_model=16, d_ff=32, num_layers=1, num_decoder_layers=2, num_heads=2, vocab_size=50)
    model_map = map_model(T5ForConditionalGeneration(config))
    assert model_map.stacks == ("encoder", "decoder")
    assert (model_map.n_layers, model_map.ffn_width) == (1, 32)
    assert [str(site) for site in model_map.sites("inner")] == ["encoder.0.inner"]
    assert [str(site) for site in model_map.sites("attn_out", "decoder")] == [
        *("decoder.0.attn_out", "decoder.0.attn_out.1", "decoder.1.attn_out", "decoder.1.attn_out.1")
    ]
    assert model_map.place(Site("inner", 0)) == model_map.place(Site("inner", 0, "encoder"))
    assert model_map.place(Site("inner", 1, "decoder")).path == "decoder.block.1.layer.2.DenseReluDense.wo"
    with pytest.raises(ModelError, match="block 0 has 2 of these"):
        model_map.place(Site("attn_out", 0, "decoder", part=2))
    with pytest.raises(ModelError, match=r"site decoder.0.inner: bert has one stack; leave stack empty"):
        map_model(make_model("bert")).place(Site("inner", 0, "decoder"))


@pytest.mark.parametrize("family", ["llama", "bert"])
@pytest.mark.parametrize("wrap", ["lora", "compile"])
def test_a_wrapped_base_model_is_one_stack(family, wrap):
    """Wrappers pass attributes on to the model inside; its blocks must not be found twice."""
    model = make_model(family)
    if wrap == "lora":
        model = get_peft_model(model, LoraConfig(target_modules="all-linear"))
    else:
        model = torch.compile(model, backend="eager")
    assert map_model(model).n_layers == 3


def test_what_does_not_say_how_wide_it_is(registered):
    model = make_model("llama")
    registered("llama", replace(LLAMA, gate="mlp.act_fn"))
    with pytest.raises(ModelError, match="SiLUActivation does not say how wide it is"):
        map_model(model)


def test_the_layout_argument_of_0_1_0_still_works():
    model, another = unknown_model(), unknown_model()
    with pytest.warns(DeprecationWarning, match=r"layout= is deprecated.*xalign\.register_layout") as warned:
        assert map_model(model, LLAMA).n_layers == LAYERS
    assert len(warned) == 1
    assert warned[0].filename == __file__  # where the user called, not inside xalign
    with pytest.raises(ModelError, match="model_type mystery"):
        map_model(another)  # it holds for the model that it was given for
    seen = []
    with (
        pytest.warns(DeprecationWarning, match="layout= is deprecated"),
        visit(model, {Site("inner", 0): lambda x: seen.append(x.shape)}, layout=LLAMA),
    ):
        model(torch.arange(4, 9)[None])
    assert seen == [(1, 5, FFN)]
    with (
        pytest.warns(DeprecationWarning, match="layout= is deprecated"),
        pytest.raises(ArgumentTypeError, match="layout must be"),
    ):
        map_model(model, layout="llama")


@pytest.mark.filterwarnings("ignore:layout= is deprecated:DeprecationWarning")
def test_a_layout_argument_that_does_not_fit_leaves_nothing():
    model = make_model("llama")
    for changes, message in (
        ({"gate": "mlp.wi"}, "block 0 has no module 'mlp.wi'"),
        ({"blocks": "decoder.blocks"}, "no blocks at 'decoder.blocks'"),
        ({"gate": "mlp.up_proj"}, r"act\(gate\) · up = inner is off by"),
    ):
        with pytest.raises(ModelError, match=message):
            map_model(model, layout=replace(LLAMA, **changes))
        assert map_model(model).place(Site("gate", 0)).path == "model.layers.0.mlp.gate_proj"
    renamed = replace(LLAMA, final=("layers.2",))
    assert map_model(model, layout=renamed).place(Site("hidden", "final")).path == "model.layers.2"
    assert map_model(make_model("llama")).place(Site("hidden", "final")).path == "model.norm"


def test_two_stacks_are_ambiguous():
    both = nn.ModuleDict({"policy": make_model("llama"), "reference": make_model("llama")})
    with pytest.raises(ModelError, match=r"several stacks of blocks \(policy\.model, reference\.model\)"):
        map_model(both)
