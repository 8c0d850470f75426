"""`visit` gives [batch, token, width] wherever a place is: of rows, channels, blocks that run again."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel

from tests.model.architectures.homemade import BLOCKS, FFN, WIDTH, Homemade, model_of
from tests.tiny import SIZES
from xalign import Site, map_model, visit
from xalign.errors import ModelError

IDS = torch.arange(12).view(2, 6)


class Rows(nn.Module):
    """Sees the tokens of all sentences as rows."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, FFN), nn.Linear(FFN, WIDTH)

    def forward(self, x):
        return self.second(F.gelu(self.first(x.reshape(-1, WIDTH)))).reshape(x.shape)


class Channels(nn.Module):
    """Convolutions over single tokens, with the width before the tokens."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(WIDTH, FFN, 1), nn.Conv1d(FFN, WIDTH, 1)

    def forward(self, x):
        return self.second(F.gelu(self.first(x.transpose(1, 2)))).transpose(1, 2)


class TimeFirst(Homemade):
    """Its blocks take [token, batch, width]."""

    def forward(self, input_ids):
        x = self.embed(input_ids).transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).transpose(0, 1)


class Recurrent(nn.Module):
    """Pools over the tokens so far, whichever dimension they are."""

    def __init__(self, dim):
        super().__init__()
        self.out, self.dim = nn.Linear(WIDTH, WIDTH), dim

    def forward(self, x):
        return self.out(x.cumsum(self.dim))


def time_first():
    model = model_of(attention=lambda: Recurrent(0))
    model.__class__ = TimeFirst
    return model


def look(model, *kinds):
    seen = {}
    sites = [site for kind in kinds for site in map_model(model).sites(kind)]
    with torch.no_grad(), visit(model, {one: lambda x, one=one: seen.__setitem__(one, x) for one in sites}):
        output = model(IDS)
    return seen, output


@pytest.mark.parametrize("make", [lambda: model_of(Rows), lambda: model_of(Channels), time_first])
def test_each_place_gives_tokens(make):
    model = make()
    seen, output = look(model, "hidden", "gate", "inner", "mlp_out", "attn_out")
    assert len(seen) == 5 * BLOCKS + 2
    widths = {"gate": FFN, "inner": FFN}
    for site, values in seen.items():
        assert values.shape == (2, 6, widths.get(site.kind, WIDTH)), site
    for layer in range(BLOCKS):
        torch.testing.assert_close(seen[Site("inner", layer)], F.gelu(seen[Site("gate", layer)]))
        before = seen[Site("hidden", layer - 1 if layer else "embed")]
        added = seen[Site("attn_out", layer)] + seen[Site("mlp_out", layer)]
        torch.testing.assert_close(seen[Site("hidden", layer)], before + added)
    torch.testing.assert_close(seen[Site("hidden", "final")], output)


@pytest.mark.parametrize("make", [lambda: model_of(Rows), lambda: model_of(Channels), time_first])
def test_each_place_is_written(make):
    """What the neurons are replaced by is what the down projection then takes, token by token."""
    model = make()
    new = torch.randn(2, 6, FFN, generator=torch.Generator().manual_seed(0))
    taken = {}
    look_at = {Site("inner", 1): lambda x: new, Site("mlp_out", 1): lambda x: taken.__setitem__("out", x)}
    with torch.no_grad(), visit(model, look_at):
        model(IDS)
    weight = model.layers[1].feed_forward.second.weight.reshape(WIDTH, FFN)
    bias = model.layers[1].feed_forward.second.bias
    torch.testing.assert_close(taken["out"], (new @ weight.T + bias).detach())


def test_a_block_that_runs_several_times_is_as_many_layers():
    """ALBERT has one block, and its layers are the runs of it."""
    torch.manual_seed(0)
    sizes = SIZES | {"num_hidden_layers": 4, "embedding_size": 16}
    model = AutoModel.from_config(AutoConfig.for_model("albert", **sizes)).eval()
    model_map = map_model(model)
    assert model_map.n_layers == 4
    assert len(set(model_map.blocks)) == 1
    assert "call 3 of 4" in str(model_map.place(Site("inner", 2)))
    seen = {}
    sites = [*model_map.sites("hidden"), Site("inner", 2)]
    with torch.no_grad(), visit(model, {one: lambda x, one=one: seen.__setitem__(one, x) for one in sites}):
        expected = model(IDS, output_hidden_states=True).hidden_states
    for layer, states in zip(("embed", 0, 1, 2, 3), expected, strict=True):
        assert torch.equal(seen[Site("hidden", layer)], states)
    assert torch.equal(seen[Site("hidden", "final")], expected[-1])
    with torch.no_grad(), visit(model, {Site("inner", 2): torch.zeros_like}):
        changed = model(IDS, output_hidden_states=True).hidden_states
    assert [torch.equal(one, other) for one, other in zip(changed, expected, strict=True)] == [
        *(True, True, True, False, False)
    ]


def test_a_stack_that_is_not_there():
    with pytest.raises(ModelError, match=r"site decoder.0.inner: Homemade has one stack"):
        map_model(model_of()).place(Site("inner", 0, "decoder"))


@pytest.mark.parametrize(
    ("function", "keeps"),
    [
        (F.silu, True),
        (F.gelu, True),
        (F.relu, True),
        (lambda x: F.relu(x) ** 2, True),
        (torch.tanh, True),
        (F.softplus, False),
        (torch.sigmoid, False),
        (lambda x: F.elu(x) + 1, False),
        (lambda x: -F.relu(x), False),
        (lambda x: x * x, False),
    ],
)
def test_active_is_asked_of_the_activation_itself(function, keeps):
    """Which activation functions are positive where their input is was a list of names of classes."""
    from tests.model.architectures.homemade import computing
    from xalign import Reading
    from xalign.model.pool import state_of

    model = computing(lambda m, x: m.second(function(m.first(x))))
    model_map = map_model(model)
    assert model_map.keeps_sign(1) == keeps
    values = torch.randn(2, 6, FFN, generator=torch.Generator().manual_seed(0))
    active = state_of(values, Reading(Site("gate", 1), "active"), model_map)
    assert torch.equal(active, (function(values) > 0).float())
    acted = state_of(values, Reading(Site("gate", 1), "act"), model_map)
    torch.testing.assert_close(acted, function(values))
