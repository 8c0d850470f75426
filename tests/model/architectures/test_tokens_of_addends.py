"""What is added to a stream is told apart by numbers: of several tokens, of a network, or neither."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.model.architectures.homemade import BLOCKS, WIDTH, FeedForward, model_of
from xalign import Site, map_model


class Mixing(nn.Module):
    """A sub-layer that computes as a function says."""

    def __init__(self, compute):
        super().__init__()
        self.v, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.w = nn.Parameter(torch.randn(16, 16))
        self.compute = compute

    def forward(self, x):
        return self.compute(self, x)


class Hidden(torch.autograd.Function):
    """A kernel of its own, for a whole sub-layer: torch does not show what it computes."""

    @staticmethod
    def forward(ctx, compute, module, x):
        with torch._C.DisableTorchFunction():
            return compute(module, x)


def hidden(compute):
    return lambda m, x: Hidden.apply(compute, m, x)


OF_SEVERAL = {
    "a mean": lambda m, x: m.o(m.v(x).mean(1, keepdim=True).expand_as(x)),
    "a shift": lambda m, x: m.o(torch.cat([torch.zeros_like(x[:, :1]), m.v(x)[:, :-1]], 1)),
    "tokens in reverse": lambda m, x: m.o(m.v(x).flip(1)),
    "a softmax over tokens": lambda m, x: m.o(m.v(x) * x.softmax(1)),
    "the largest": lambda m, x: m.o(m.v(x).amax(1, keepdim=True).expand_as(x)),
    "the other sentence": lambda m, x: m.o(m.v(x).flip(0)),
    "a sort": lambda m, x: m.o(m.v(x).sort(1).values),
    "a kernel": hidden(lambda m, x: m.o(m.v(x).cumsum(1))),
    "a kernel before a projection": lambda m, x: m.o(Hidden.apply(lambda _, v: v.cumsum(1), m, m.v(x))),
}
OF_ONE = {
    "a projection": lambda m, x: m.o(m.v(x)),
    "a factor": lambda m, x: m.o(x) * x.softmax(-1),
    "heads": lambda m, x: m.o(
        m.v(x).unflatten(-1, (4, -1)).softmax(-1).transpose(1, 2).transpose(1, 2).flatten(2)
    ),
    "parts": lambda m, x: m.o(torch.cat(m.v(x).chunk(2, -1)[::-1], -1)),
}


def mapped(compute):
    return map_model(model_of(attention=lambda: Mixing(compute)))


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_what_is_of_several_tokens_is_attn_out(name):
    model_map = mapped(OF_SEVERAL[name])
    assert model_map.place(Site("attn_out", 1)).path == "layers.1.attention"
    assert model_map.place(Site("mlp_out", 1)).path == "layers.1.feed_forward"
    assert len(model_map.sites("mlp_out")) == BLOCKS


@pytest.mark.parametrize("name", OF_ONE)
def test_what_is_of_one_token_is_neither(name):
    """Gemma 4 adds something of each token's own embedding: both kinds were refused for that."""
    model_map = mapped(OF_ONE[name])
    assert "adds nothing of this kind" in model_map.refused("attn_out")
    assert model_map.place(Site("mlp_out", 1)).path == "layers.1.feed_forward"
    assert "layers.0.attention adds what is computed from each token alone" in str(model_map)


def test_a_kernel_of_one_token_is_not_taken_for_attention():
    """A fused network, such as that of Unsloth, was `attn_out`: nothing was seen of it."""

    def fused(module, x):
        gate, up = (F.linear(x, one.weight) for one in (module.first, module.third))
        return F.linear(F.silu(gate) * up, module.second.weight)

    model = model_of(lambda: FeedForward(hidden(fused)))
    model_map = map_model(model)
    for kind in ("attn_out", "mlp_out"):
        assert "torch does not show what layers.0.feed_forward computes" in model_map.refused(kind)
    assert model_map.refused("inner")
    assert len(model_map.sites("hidden")) == BLOCKS + 2


@pytest.mark.parametrize("move", ["flip(1)", "roll(1, 1)", "flip(0)"])
def test_a_network_that_gives_other_tokens_is_neither(move):
    """Tokens that are moved before the first projection were seen by the name of the operation alone."""
    compute = eval(f"lambda m, x: m.second(F.gelu(m.first(x.{move})))", {"F": F})
    model_map = map_model(model_of(lambda: FeedForward(compute)))
    assert "from a feed-forward network and from several tokens" in model_map.refused("mlp_out")
    assert model_map.place(Site("inner", 1)).path == "layers.1.feed_forward.second"
