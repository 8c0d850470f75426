"""Forms of models that were once mapped wrongly, refused without need, or refused with another's reason."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.model.architectures.homemade import BLOCKS, FFN, WIDTH, FeedForward, Homemade, computing, model_of
from tests.tiny import make_model
from xalign import Site, map_model, visit
from xalign.errors import ModelError

IDS = torch.arange(12).view(2, 6)


def look(model, *kinds):
    seen = {}
    sites = [site for kind in kinds for site in map_model(model).sites(kind)]
    with torch.no_grad(), visit(model, {one: lambda x, one=one: seen.__setitem__(one, x) for one in sites}):
        model(IDS)
    return seen


def test_a_network_that_all_blocks_share_is_read_in_each():
    """It was mapped, and a visit then said that it fired twice."""
    shared = FeedForward(lambda m, x: m.second(F.gelu(m.first(x))))
    model = model_of(lambda: shared)
    assert "call 2 of 3" in str(map_model(model).place(Site("inner", 1)))
    taken = []
    handle = shared.second.register_forward_pre_hook(lambda module, args: taken.append(args[0]))
    seen = look(model, "gate", "inner", "mlp_out")
    handle.remove()
    for layer in range(BLOCKS):
        assert torch.equal(seen[Site("inner", layer)], taken[layer])
        torch.testing.assert_close(F.gelu(seen[Site("gate", layer)]), taken[layer])
    assert not torch.equal(taken[0], taken[1])


class Routed(nn.Module):
    """A mixture of its own, whose router sends all tokens to one expert."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(WIDTH, 4, bias=False)
        nn.init.zeros_(self.router.weight)
        self.experts = nn.ModuleList(FeedForward(lambda m, x: m.second(F.gelu(m.first(x)))) for _ in range(4))

    def forward(self, x):
        rows = x.reshape(-1, WIDTH)
        weights, chosen = self.router(rows).softmax(-1).max(-1)
        out = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            if bool((chosen == number).any()):
                self.add(out, chosen == number, expert, rows, weights)
        return out.view_as(x)


class ByIndex(Routed):
    def add(self, out, mask, expert, rows, weights):
        index = torch.where(mask)[0]
        out.index_add_(0, index, expert(rows[index]) * weights[index, None])


class ByMask(Routed):
    def add(self, out, mask, expert, rows, weights):
        out[mask] = expert(rows[mask]) * weights[mask, None]


@pytest.mark.parametrize("kind", [ByIndex, ByMask])
def test_an_expert_that_gets_all_tokens_is_no_network_of_all_tokens(kind):
    """It was mapped as if it were always used."""
    model_map = map_model(model_of(kind))
    assert "puts it at some tokens only" in model_map.refused("inner")
    assert model_map.ffn_width is None


def gated(act):
    return lambda m, x: m.second(act(m.first(x)) * m.third(x))


def swish_in_another_order(module, x):
    gate = module.first(x)
    return module.second(module.third(x) * gate * torch.sigmoid(gate))


FORMS = {
    "up · gate · sigmoid(gate)": lambda: computing(swish_in_another_order),
    "in place, by name": lambda: computing(lambda m, x: m.second(F.relu_(m.first(x)))),
    "in place, by argument": lambda: computing(gated(lambda gate: F.silu(gate, inplace=True))),
    "in place, as a module": lambda: computing(gated(nn.ReLU(inplace=True))),
    "in place, the product": lambda: computing(lambda m, x: m.second(F.silu(m.first(x)).mul_(m.third(x)))),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_an_activation(name):
    model = FORMS[name]()
    assert map_model(model).place(Site("gate", 1)).path == "layers.1.feed_forward.first"
    assert all(values.shape == (2, 6, FFN) for values in look(model, "gate", "inner").values())


def test_glu_gates_its_second_half():
    """torch computes it as one operation, and it was refused."""
    model = model_of(lambda: FeedForward(lambda m, x: m.second(F.glu(m.first(x))), first=2 * FFN))
    assert map_model(model).place(Site("gate", 0)).columns == slice(FFN, None)
    assert "sigmoid" in map_model(model).activation(0).name
    taken, layer = [], model.layers[1].feed_forward
    handle = layer.first.register_forward_hook(lambda module, args, output: taken.append(output))
    seen = look(model, "gate", "inner")
    handle.remove()
    assert torch.equal(seen[Site("gate", 1)], taken[0][..., FFN:])
    torch.testing.assert_close(seen[Site("inner", 1)], F.glu(taken[0]))


def test_dropout_that_is_always_on_is_not_taken_for_attention():
    model_map = map_model(computing(lambda m, x: F.dropout(m.second(F.gelu(m.first(x))), 0.1)))
    assert [str(site) for site in model_map.sites("attn_out")] == [f"{n}.attn_out" for n in range(BLOCKS)]


def test_refusals_begin_with_the_network():
    """They began with why attention has no neurons."""
    assert (
        map_model(computing(lambda m, x: m.second(m.first(x))))
        .refused("inner")
        .startswith("layers.0.feed_forward.second: no activation function")
    )


def test_a_model_without_any_network_says_so():
    reason = map_model(model_of(fold=lambda block, x: x)).refused("inner")
    assert reason.startswith("it has no feed-forward network: what is added is of several tokens")


def test_a_default_device_without_values():
    """`with torch.device("meta")` around it raised an error of torch."""
    model = model_of()
    with torch.device("meta"):
        assert map_model(model).ffn_width == FFN


def test_a_forward_that_takes_something_else_is_named():
    class Other(Homemade):
        def forward(self, tokens, length):
            return super().forward(tokens)

    model = model_of()
    model.__class__ = Other
    with pytest.raises(ModelError, match="its forward takes tokens, length, and none of input_ids"):
        map_model(model)


def test_a_layout_is_checked_anew_when_the_model_changes(registered):
    """A layout that passed once was never asked again."""
    from tests.model.architectures.test_map import LLAMA

    registered("llama", LLAMA)
    model = make_model("llama")
    assert map_model(model).place(Site("gate", 0)).path.endswith("gate_proj")
    for block in model.model.layers:
        block.mlp.gate_proj, block.mlp.up_proj = block.mlp.up_proj, block.mlp.gate_proj
    assert map_model(model).place(Site("gate", 0)).path.endswith("gate_proj")
    for block in model.model.layers:
        block.mlp.forward = lambda x, m=block.mlp: m.down_proj(m.act_fn(m.up_proj(x)) * m.gate_proj(x))
    with pytest.raises(ModelError, match=r"act\(gate\) · up = inner is off by"):
        map_model(model)


@pytest.mark.parametrize("name", ["perceiver:PerceiverForMaskedLM", "canine:CanineModel"])
def test_latents_are_no_tokens(name):
    """The latents of a Perceiver were given as hidden states of the tokens."""
    from tests.architectures.zoo import zoo

    model, _ = next(one for one in zoo() if str(one) == name).build()
    if name.startswith("canine"):
        model_map = map_model(model)
        assert "char_encoder" in model_map.place(Site("hidden", 0)).path
        assert model_map.stacks == ("initial_char_encoder", "final_char_encoder")
    else:
        with pytest.raises(ModelError, match="blocks could not be found by a trace"):
            map_model(model).sites("hidden")
