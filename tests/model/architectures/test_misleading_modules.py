"""What only looks like a feed-forward network has no neurons; what is one has them in any form."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.model.architectures.homemade import BLOCKS, FFN, WIDTH, Attention, FeedForward, computing, model_of
from xalign import Site, map_model, visit
from xalign.errors import ModelError
from xalign.model.architectures.example import TOKENS


class GatedAttention(Attention):
    """Attention whose output is multiplied by a gate with an activation function."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        mixed = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return self.out(mixed * torch.sigmoid(self.gate(x)))


class TokenMixing(nn.Module):
    """The token-mixing network of MLP-Mixer: its neurons belong to channels, not to tokens."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(TOKENS, 12), nn.Linear(12, TOKENS)

    def forward(self, x):
        return self.second(F.gelu(self.first(x.transpose(1, 2)))).transpose(1, 2)


class Functional(nn.Module):
    """A network without modules for its projections."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(FFN, WIDTH)), nn.Parameter(torch.randn(WIDTH, FFN))

    def forward(self, x):
        return F.linear(F.gelu(F.linear(x, self.first)), self.second)


def mix(states):
    """Put into each token what is before it."""
    return states + states.cumsum(1)


def soft_router(module, x):
    """Weights of four linear experts, from a network whose output is a softmax."""
    weights = torch.softmax(module.second(F.relu(module.first(x))), dim=-1)
    experts = torch.stack([expert(x) for expert in module.experts], dim=-1)
    return (experts * weights[..., None, :4]).sum(-1)


def by_halves(module, x):
    """The same projections, once for each half of the tokens."""
    return torch.cat([module.second(F.relu(module.first(half))) for half in (x[:, :3], x[:, 3:])], dim=1)


def keep_largest(module, x):
    acted = F.relu(module.first(x))
    return module.second(acted * (acted >= acted.topk(4, dim=-1).values[..., -1:]))


def linears(n):
    return lambda: nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(n))


MISLEADING = {
    "a token-mixing network": lambda: model_of(TokenMixing),
    "gated attention alone": lambda: model_of(nn.Identity, GatedAttention, fold=lambda block, x: x),
    "a router": lambda: computing(soft_router, experts=linears(4)),
    "a gated norm": lambda: model_of(
        fold=lambda block, x: x + block.norm2(x) * torch.sigmoid(block.feed_forward(block.norm1(x)))
    ),
    "a factor of the stream": lambda: model_of(fold=lambda block, x: x * (1 + block.feed_forward(x))),
    "a low-rank branch": lambda: computing(lambda m, x: m.second(m.first(x))),
    "two gates without activation": lambda: computing(lambda m, x: m.second(m.first(x) * m.third(x))),
    "activation after mixing": lambda: computing(lambda m, x: m.second(F.gelu(mix(m.first(x))))),
    "mixing after activation": lambda: computing(lambda m, x: m.second(mix(F.gelu(m.first(x))))),
    "a mean over the sentence": lambda: computing(
        lambda m, x: m.second(F.gelu(m.first(x)) + m.first(x).mean(1, keepdim=True))
    ),
    "a mean over the batch": lambda: computing(
        lambda m, x: m.second(F.gelu(m.first(x)) - F.gelu(m.first(x)).mean(0))
    ),
    "tokens shifted after the activation": lambda: computing(
        lambda m, x: m.second(torch.cat([torch.zeros(len(x), 1, FFN), F.gelu(m.first(x))[:, :-1]], 1))
    ),
    "tokens in reverse": lambda: computing(lambda m, x: m.second(F.gelu(m.first(x)).flip(1))),
    "neurons in reverse": lambda: computing(lambda m, x: m.second(F.gelu(m.first(x)).flip(-1))),
    "neurons that compete": lambda: computing(lambda m, x: m.second(m.first(x).softmax(-1))),
    "neurons of which the largest are kept": lambda: computing(keep_largest),
    "an activation without a projection": lambda: computing(
        lambda m, x: m.narrow(F.gelu(x)), narrow=lambda: nn.Linear(WIDTH, WIDTH)
    ),
    "an activation after the network": lambda: computing(lambda m, x: F.gelu(m.second(m.first(x)))),
    "projections by halves of the tokens": lambda: computing(by_halves),
    "projections without modules": lambda: model_of(Functional),
    "only some of the output": lambda: computing(
        lambda m, x: F.pad(m.second(F.gelu(m.first(x)))[..., :8], (0, 8))
    ),
}


@pytest.mark.parametrize("name", MISLEADING)
def test_it_has_no_neurons(name):
    model_map = map_model(MISLEADING[name]())
    assert model_map.n_layers == BLOCKS
    assert model_map.ffn_width is None
    assert model_map.refused("inner")
    assert model_map.refused("gate")
    with pytest.raises(ModelError, match=r"metrics=\['mexa', 'retrieval'\]"):
        model_map.place(Site("inner", 0))


def test_the_plain_network_beside_them_has_neurons():
    """Else all of the models above could be refused for something that they share."""
    model_map = map_model(model_of())
    assert model_map.ffn_width == FFN
    assert model_map.place(Site("gate", 2)).path == "layers.2.feed_forward.first"
    assert map_model(model_of(attention=GatedAttention)).ffn_width == FFN


def test_says_what_stands_in_the_way():
    for name, said in (
        ("neurons that compete", "softmax mixes tokens or neurons"),
        ("a low-rank branch", "feed_forward.second: no activation function stands before it"),
        ("projections without modules", "is not a module that runs once on each token"),
        ("an activation without a projection", "its input is computed from the stream"),
    ):
        assert said in str(map_model(MISLEADING[name]()))


def doubled(order):
    """A network whose gate and up are one matrix, with the gate where `order` says."""

    def compute(module, x):
        gate, up = order(module.first(x))
        return module.second(F.silu(gate) * up)

    return model_of(lambda: FeedForward(compute, first=2 * FFN))


# What is computed -> which columns of `first` are the gate; None for all.
NETWORKS = {
    "gate first": (lambda: doubled(lambda both: both.chunk(2, -1)), slice(0, FFN)),
    "gate second": (lambda: doubled(lambda both: both.chunk(2, -1)[::-1]), slice(FFN, None)),
    "interleaved": (lambda: doubled(lambda both: (both[..., ::2], both[..., 1::2])), slice(0, None, 2)),
    "interleaved, gate second": (
        lambda: doubled(lambda both: (both[..., 1::2], both[..., ::2])),
        slice(1, None, 2),
    ),
    "halves by a view": (
        lambda: doubled(lambda both: both.view(*both.shape[:2], 2, FFN).unbind(2)),
        slice(0, FFN),
    ),
    "rows of tokens": (
        lambda: computing(lambda m, x: m.second(F.relu(m.first(x.view(-1, WIDTH)))).view_as(x)),
        None,
    ),
    "a gate that is squared": (
        lambda: computing(lambda m, x: m.second(F.relu(m.first(x)) ** 2 * m.third(x))),
        None,
    ),
    "the activation on the second": (
        lambda: computing(lambda m, x: m.second(m.third(x) * F.silu(m.first(x)))),
        None,
    ),
    "a norm before the down projection": (
        lambda: computing(lambda m, x: m.second(m.norm(F.relu(m.first(x)))), norm=lambda: nn.LayerNorm(FFN)),
        None,
    ),
    "output times a weight": (
        lambda: model_of(
            fold=lambda block, x: x + 0.5 * block.norm1.weight * block.feed_forward(block.norm2(x))
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_another_form_has_neurons(name):
    build, columns = NETWORKS[name]
    model = build()
    model_map = map_model(model)
    place = model_map.place(Site("gate", 1))
    assert (place.path, place.width, place.columns) == ("layers.1.feed_forward.first", FFN, columns)
    assert model_map.place(Site("inner", 1)).path == "layers.1.feed_forward.second"
    assert not model_map.refused("mlp_out")
    seen = {}
    sites = [Site("gate", 1), Site("inner", 1)]
    with (
        torch.no_grad(),
        visit(model, {site: lambda x, site=site: seen.__setitem__(site, x) for site in sites}),
    ):
        model(torch.arange(12).view(2, 6))
    assert all(seen[site].shape == (2, 6, FFN) for site in sites)


def test_tokens_that_are_shifted_before_the_projection():
    """The neurons act on the token itself. What is added is of two tokens, and so is neither kind."""
    model_map = map_model(computing(lambda m, x: m.second(F.gelu(m.first(x.roll(1, dims=1))))))
    assert model_map.place(Site("inner", 1)).path == "layers.1.feed_forward.second"
    assert "from a feed-forward network and from several tokens" in model_map.refused("mlp_out")


ATTENTIONS = {
    "a mean": lambda m, x: m.o(m.v(x).mean(1, keepdim=True).expand_as(x)),
    "a shift": lambda m, x: m.o(torch.cat([torch.zeros_like(x[:, :1]), m.v(x)[:, :-1]], 1)),
    "tokens in reverse": lambda m, x: m.o(m.v(x).flip(1)),
    "a softmax over tokens": lambda m, x: m.o(m.v(x) * x.softmax(1)),
    "weights over tokens": lambda m, x: m.o(torch.einsum("ts,bsd->btd", m.w[: x.shape[1], : x.shape[1]], x)),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_what_mixes_tokens_is_never_taken_for_a_network(name):
    """An operation that is not known to mix tokens made its sub-layer `mlp_out`."""

    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.v, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.w = nn.Parameter(torch.randn(16, 16))

        def forward(self, x):
            return ATTENTIONS[name](self, x)

    model_map = map_model(model_of(attention=Mixing))
    assert model_map.sites("inner")
    reason = model_map.refused("mlp_out")
    assert "is not known to be computed from several tokens" in reason or (
        model_map.place(Site("attn_out", 0)).path == "layers.0.attention"
        and model_map.place(Site("mlp_out", 0)).path == "layers.0.feed_forward"
    )


@pytest.mark.parametrize("columns", [slice(0, FFN), slice(FFN, None), slice(0, None, 2), slice(1, None, 2)])
def test_columns_are_written_alone(columns):
    """The gate is replaced, and up stays: the output is what the weights then give."""
    orders = {
        (0, FFN): lambda both: both.chunk(2, -1),
        (FFN, None): lambda both: both.chunk(2, -1)[::-1],
        (0, None): lambda both: (both[..., ::2], both[..., 1::2]),
        (1, None): lambda both: (both[..., 1::2], both[..., ::2]),
    }
    model = doubled(orders[columns.start, columns.stop])
    ids, seen = torch.arange(12).view(2, 6), {}
    new = torch.randn(2, 6, FFN, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = model.layers[0].feed_forward.first(torch.randn(2, 6, WIDTH))
        with visit(
            model,
            {Site("gate", 0): lambda gate: new, Site("inner", 0): lambda x: seen.__setitem__("inner", x)},
        ):
            model(ids)
        with visit(model, {Site("gate", 0): lambda gate: None}):
            taken = {}
            handle = model.layers[0].feed_forward.first.register_forward_hook(
                lambda module, args, output: taken.__setitem__("both", output)
            )
            model(ids)
            handle.remove()
    up = taken["both"][..., [one for one in range(2 * FFN) if one not in range(2 * FFN)[columns]]]
    assert states.shape[-1] == 2 * FFN
    torch.testing.assert_close(seen["inner"], F.silu(new) * up)


def test_three_layers_have_the_neurons_of_the_last():
    """What the first activation gives is the input of a projection that adds nothing to the stream."""
    model_map = map_model(
        computing(
            lambda m, x: m.second(F.gelu(m.middle(F.gelu(m.first(x))))), middle=lambda: nn.Linear(FFN, FFN)
        )
    )
    assert model_map.place(Site("gate", 0)).path == "layers.0.feed_forward.middle"
    assert len(model_map.sites("inner")) == BLOCKS


def test_an_activation_on_both_leaves_neurons_without_a_gate():
    """What the down projection takes is known; which of the two is the gate is not."""
    model_map = map_model(
        computing(lambda m, x: m.second(torch.tanh(m.first(x)) * torch.sigmoid(m.third(x))))
    )
    assert model_map.ffn_width == FFN
    assert "acts on layers.0.feed_forward.first and layers.0.feed_forward.third" in model_map.refused("gate")


def test_two_networks_in_one_block_are_two_parts():
    """An adapter with an activation function is a network of its own."""
    model = computing(
        lambda m, x: m.second(F.gelu(m.first(x))) + m.adapter(x),
        adapter=lambda: nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU(), nn.Linear(4, WIDTH)),
    )
    model_map = map_model(model)
    sites = model_map.sites("inner")
    assert [str(site) for site in sites[:2]] == ["0.inner", "0.inner.1"]
    assert [model_map.place(site).width for site in sites[:2]] == [FFN, 4]
    assert model_map.ffn_width is None
    assert model_map.ffn_width_of(0) == FFN + 4
    assert [str(site) for site in model_map.sites("mlp_out")[:2]] == ["0.mlp_out", "1.mlp_out"]


class Silent(torch.autograd.Function):
    """SiLU times up in one kernel, which torch does not see from inside."""

    @staticmethod
    def forward(ctx, gate, up):
        with torch._C.DisableTorchFunction():
            return F.silu(gate) * up


@pytest.mark.parametrize("swap", [False, True])
def test_a_kernel_that_hides_the_activation_is_found_by_its_values(swap):
    """Liger's forwards never call the activation function."""

    def compute(module, x):
        pair = module.first(x), module.third(x)
        return module.second(Silent.apply(*(pair[::-1] if swap else pair)))

    model_map = map_model(computing(compute))
    assert model_map.place(Site("gate", 0)).path == f"layers.0.feed_forward.{'third' if swap else 'first'}"
    assert model_map.keeps_sign(0)
    assert "silu" in str(model_map)
