"""Kernels that replace a network's forward, on models of transformers: mapped, or refused with the reason."""

import types

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from tests.tiny import make_model, make_tokenizer
from tests.versions.require import require
from xalign import Site, load_pairs, map_model, measure, visit
from xalign.errors import ModelError

PAIRS = load_pairs("bundled", ["deu", "rus"], n=12)

KINDS = ("hidden", "gate", "inner", "attn_out", "mlp_out")


class SiluTimes(torch.autograd.Function):
    """What Liger runs: activation and product at once, and torch sees neither."""

    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        return F.silu(gate) * up

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        raise NotImplementedError


class WholeNetwork(torch.autograd.Function):
    """What Unsloth runs: the whole network from its weights; no projection is called as a module."""

    @staticmethod
    def forward(ctx, x, gate, up, down):
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


def like_liger(module, x):
    return module.down_proj(SiluTimes.apply(module.gate_proj(x), module.up_proj(x)))


def like_unsloth(module, x):
    return WholeNetwork.apply(
        x, *(one.weight for one in (module.gate_proj, module.up_proj, module.down_proj))
    )


def patched(family, forward):
    model = make_model(family)
    for layer in model.model.layers:
        layer.mlp.forward = types.MethodType(forward, layer.mlp)
    return model


def places(model):
    model_map = map_model(model)
    found = [(site, model_map.place(site)) for kind in KINDS for site in model_map.sites(kind)]
    return [(site, place.path, place.side, place.width) for site, place in found]


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral"])
def test_a_hidden_activation_is_found_by_its_values(family):
    model = patched(family, like_liger)
    assert places(model) == places(make_model(family))
    assert map_model(model).keeps_sign(0)
    options = {"metrics": ["nasca", "navca", "mexa"], "token_budget": 200}
    expected = measure(make_model(family), make_tokenizer(), PAIRS, **options)
    assert measure(model, make_tokenizer(), PAIRS, **options).to_rows() == expected.to_rows()


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_hidden_network_is_refused_and_hidden_states_are_read(family):
    model = patched(family, like_unsloth)
    with pytest.raises(ModelError, match=r"sites of kind inner: .*layers\.0\.mlp"):
        map_model(model).sites("inner")
    with pytest.raises(ModelError, match="sites of kind gate"):
        measure(model, make_tokenizer(), PAIRS, ["nasca"])
    expected = measure(make_model(family), make_tokenizer(), PAIRS, ["mexa"])
    assert measure(model, make_tokenizer(), PAIRS, ["mexa"]).to_rows() == expected.to_rows()


def test_eight_bit_weights():
    """Of bitsandbytes: the sites are those of the model, and hold what its layers compute."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = make_model("llama")
    expected = places(model)
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and "layers" in path:
            owner, _, name = path.rpartition(".")
            eight = bitsandbytes.nn.Linear8bitLt(
                module.in_features, module.out_features, bias=False, has_fp16_weights=False
            )
            eight.load_state_dict(module.state_dict())
            setattr(model.get_submodule(owner), name, eight.to("cpu"))
    model.eval()
    assert places(model) == expected
    read, given = [], []
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    ids = torch.arange(1, 13).reshape(2, 6)
    with torch.no_grad(), visit(model, {Site("inner", 1): lambda values: read.append(values.clone())}):
        model(input_ids=ids)
    assert torch.equal(read[0], given[0].reshape(read[0].shape))
    with torch.no_grad():
        close = torch.cosine_similarity(
            model(input_ids=ids).logits, make_model("llama")(input_ids=ids).logits, dim=-1
        )
    assert close.min() > 0.99


def test_fsdp2_with_one_process(tmp_path):
    require("FSDP2 does not run on a CPU", torch="2.7")
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = make_model("llama")
    expected = places(model)
    rows = measure(model, make_tokenizer(), PAIRS, ["nasca", "mexa"]).to_rows()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        assert places(model) == expected
        assert measure(model, make_tokenizer(), PAIRS, ["nasca", "mexa"]).to_rows() == rows
    finally:
        distributed.destroy_process_group()
