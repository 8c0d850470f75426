"""The sites `act` and `norm`: what is read and written there, in every tiny family, and what is refused."""

import pytest
import torch
from torch import nn

from tests.pairs_of_stacks import LAYERS as LAYERS_OF_PAIR
from tests.pairs_of_stacks import make_pair
from tests.tiny import FAMILIES, FFN, LAYERS, MIXTURES, WIDTH, make_model
from xalign import Site, map_model, visit
from xalign.errors import ArgumentError, ModelError
from xalign.model.write import Edit, write

BATCH = {"input_ids": torch.tensor([[5, 20, 30, 7], [6, 40, 50, 9]])}
# Norms of the residual stream: per block, and beside the blocks. Those of queries and keys are none.
NORMS = {
    **{
        name: (2, 1)
        for name in ("llama", "mistral", "qwen2", "qwen3", "glm", "phi3", "gpt2", "gpt_neox", "opt")
    },
    **{name: (4, 1) for name in ("gemma2", "gemma3_text", "glm4")},
    **{"bloom": (2, 2), "bert": (2, 1), "roberta": (2, 1), "xlm-roberta": (2, 1)},
}


def read(model, sites, **context):
    seen = {}
    fns = {site: (lambda values, site=site: seen.__setitem__(site, values.clone())) for site in sites}
    with torch.no_grad(), visit(model, fns):
        model(**BATCH)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_act_is_the_activated_gate(family):
    model = make_model(family)
    model_map = map_model(model)
    for layer in range(LAYERS):
        gate, act = Site("gate", layer), Site("act", layer)
        seen = read(model, [gate, act])
        assert seen[act].shape == seen[gate].shape and model_map.place(act).width == seen[act].shape[-1]
        assert torch.allclose(seen[act], model_map.activation(layer)(seen[gate]), atol=1e-6)
        assert not torch.equal(seen[act], seen[gate])
    assert [site.layer for site in model_map.sites("act")] == list(range(LAYERS))


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2", "opt", "bert", "modernbert"])
def test_what_is_written_at_act_reaches_the_neurons(family):
    model, act, inner = make_model(family), Site("act", 1), Site("inner", 1)
    before = read(model, [act, inner])
    seen = []
    look = {inner: lambda values: seen.append(values.clone())}
    with torch.no_grad(), write(model, {act: Edit("set", 2.0, units=[3])}), visit(model, look):
        model(**BATCH)
    is_gated = not torch.allclose(before[act], before[inner])
    up = before[inner] / before[act] if is_gated else torch.ones_like(before[inner])
    assert is_gated == (family in ("llama", "phi3", "modernbert"))
    assert torch.allclose(seen[0][..., 3], 2 * up[..., 3], rtol=1e-3, atol=1e-5)
    others = [unit for unit in range(FFN) if unit != 3]
    assert torch.equal(seen[0][..., others], before[inner][..., others])


def test_blocks_that_share_their_activation_function():
    model = make_model("llama")
    shared = model.model.layers[0].mlp.act_fn
    for block in model.model.layers:
        block.mlp.act_fn = shared
    seen = read(model, [Site(kind, layer) for kind in ("gate", "act") for layer in range(LAYERS)])
    for layer in range(LAYERS):
        assert torch.equal(seen[Site("act", layer)], shared(seen[Site("gate", layer)]))


def test_one_block_that_runs_several_times():
    from tests.architectures.zoo import zoo

    specimen = next(one for one in zoo() if one.model_type == "albert")
    model, inputs = specimen.build()
    model_map = map_model(model)
    if model_map.refused("act"):
        pytest.fail(model_map.refused("act"))
    seen = {}
    fns = {
        Site(kind, layer): (lambda values, key=(kind, layer): seen.__setitem__(key, values.clone()))
        for kind in ("gate", "act")
        for layer in range(model_map.n_layers)
    }
    with torch.no_grad(), visit(model, fns):
        model(**inputs)
    for layer in range(model_map.n_layers):
        assert torch.equal(seen["act", layer], model_map.activation(layer)(seen["gate", layer]))


def test_an_activation_function_that_is_no_module_is_refused():
    class Silu(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.gate_proj, self.up_proj, self.down_proj = (
                network.gate_proj,
                network.up_proj,
                network.down_proj,
            )

        def forward(self, states):
            return self.down_proj(nn.functional.silu(self.gate_proj(states)) * self.up_proj(states))

    model = make_model("llama")
    for block in model.model.layers:
        block.mlp = Silu(block.mlp)
    model_map = map_model(model)
    assert model_map.place(Site("gate", 1)).width == FFN
    with pytest.raises(ModelError, match="a function of torch and no module"):
        model_map.place(Site("act", 1))
    with pytest.raises(ModelError, match="a function of torch and no module"):
        model_map.sites("act")


def test_a_mixture_has_act_in_its_dense_blocks_alone():
    model_map = map_model(make_model("qwen2_moe"))
    dense = [site.layer for site in model_map.sites("gate")]
    assert [site.layer for site in model_map.sites("act")] == dense


@pytest.mark.parametrize("family", NORMS)
def test_norms_of_the_residual_stream(family):
    model = make_model(family)
    model_map = map_model(model)
    sites = model_map.sites("norm")
    in_block, beside = NORMS[family]
    inside = [site for site in sites if any(f".{layer}." in site.name for layer in range(LAYERS))]
    assert (len(inside), len(sites) - len(inside)) == (in_block * LAYERS, beside)
    expected = {}
    handles = [
        model.get_submodule(site.name).register_forward_hook(
            lambda module, args, output, site=site: expected.__setitem__(site, output.clone())
        )
        for site in sites
    ]
    with torch.no_grad():
        model(**BATCH)
    for handle in handles:
        handle.remove()
    seen = read(model, sites)
    for site in sites:
        assert torch.equal(seen[site].reshape(-1), expected[site].reshape(-1))
        assert seen[site].shape == (2, 4, WIDTH)
        assert Site.parse(str(site)) == site


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "opt"])
def test_steering_at_a_norm(family):
    model = make_model(family)
    site = map_model(model).sites("norm")[2]
    plain = read(model, [site, Site("hidden", 2)])
    seen = []
    look = {site: lambda values: seen.append(values.clone())}
    with torch.no_grad(), write(model, {site: Edit("add", 1.0)}, positions=[-1]), visit(model, look):
        model(**BATCH)
    assert torch.allclose(seen[0][:, -1], plain[site][:, -1] + 1, atol=1e-6)
    assert torch.equal(seen[0][:, :-1], plain[site][:, :-1])


def test_the_norms_of_each_stack():
    model_map = map_model(make_pair("t5"))
    for stack in ("encoder", "decoder"):
        names = [site.name for site in model_map.sites("norm", stack)]
        in_block = 2 if stack == "encoder" else 3
        assert len(names) == in_block * LAYERS_OF_PAIR + 1 and all(
            name.startswith(f"{stack}.") for name in names
        )


def test_units_and_vectors_at_norms():
    from tests.tiny import make_tokenizer
    from xalign import find_units, load_pairs
    from xalign.finding import language_vectors
    from xalign.steering.steer import steer

    model, tokenizer, pairs = make_model("llama"), make_tokenizer(), load_pairs("bundled", ["deu_Latn"], n=6)
    units = find_units(model, tokenizer, pairs.texts, sites="norm", k=2)
    assert {row.site.kind for row in units} == {"norm"}
    vectors = language_vectors(model, tokenizer, pairs.texts, "norm:model.layers.1.input_layernorm")
    for what in (units["deu_Latn"], vectors["deu_Latn"]):
        with torch.no_grad(), steer(model, what) as done:
            model(**BATCH)
        assert done.tokens == 8


class Batched(nn.BatchNorm1d):
    """Called a norm, and no norm of each token."""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.layers.0.norm", "there is no such module"),
        ("model.layers.0.mlp", "LlamaMLP is none"),
        ("model.layers.0.self_attn.q_norm", "Qwen3RMSNorm is none"),
        ("batched", "Batched is none"),
    ],
)
def test_what_is_no_norm_of_the_stream(name, message):
    model = make_model("qwen3" if "q_norm" in name else "llama")
    model.batched = Batched(WIDTH).train()
    before = model.batched.running_mean.clone()
    with pytest.raises(ModelError, match=message):
        map_model(model).place(Site("norm", name=name))
    assert torch.equal(model.batched.running_mean, before)
    assert not any("batched" in str(site) for site in map_model(model).sites("norm"))


def test_a_model_without_norms_says_so():
    model = make_model("llama")
    for block in model.model.layers:
        block.input_layernorm = block.post_attention_layernorm = nn.Identity()
    model.model.norm = nn.Identity()
    with pytest.raises(ModelError, match="llama has no module that is a norm of its residual stream"):
        map_model(model).sites("norm")


@pytest.mark.parametrize("arguments", [("norm", 3), ("norm",), ("act", 3, "", "a.b"), ("act", "final")])
def test_names_that_mean_no_place(arguments):
    with pytest.raises(
        ArgumentError, match="takes name=|is for linear and norm sites|is no layer of kind act"
    ):
        Site(*arguments)


def test_mixtures_have_norms_too():
    for family in MIXTURES:
        assert len(map_model(make_model(family)).sites("norm")) == 2 * LAYERS + 1
