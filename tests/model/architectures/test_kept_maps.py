"""A map is kept as long as it holds, and no longer: a setting that the forward follows makes it anew."""

import functools
import gc
import types
import weakref
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.model.architectures.homemade import FFN, WIDTH, model_of
from xalign import Site, map_model


class Set(nn.Module):
    """A gated network that follows a setting: which half is the gate, and how it is activated."""

    def __init__(self, setting):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 2 * FFN), nn.Linear(FFN, WIDTH)
        self.setting = setting

    def order(self):
        return self.setting

    def forward(self, x):
        gate, up = self.first(x).chunk(2, -1)
        if self.order():
            gate, up = up, gate
        return self.second(F.silu(gate) * up)


class Acting(nn.Module):
    """A network whose activation function is an attribute."""

    def __init__(self, act):
        super().__init__()
        self.first, self.second, self.act = nn.Linear(WIDTH, FFN), nn.Linear(FFN, WIDTH), act

    def forward(self, x):
        return self.second(self.act(self.first(x)))


@dataclass
class Settings:
    swap: bool


def gate_of(model):
    return map_model(model).place(Site("gate", 0)).columns


def set_to(model, swap):
    for layer in model.layers:
        layer.feed_forward.setting = swap


def swap_of_instance(model, swap):
    for layer in model.layers:
        layer.feed_forward.order = types.MethodType(lambda self: swap, layer.feed_forward)


def new_modules(model, swap):
    for layer in model.layers:
        del layer.feed_forward
        layer.feed_forward = Set(swap)


@pytest.mark.parametrize("change", [set_to, swap_of_instance, new_modules])
def test_a_model_that_is_changed_is_mapped_anew(change):
    """The map that was made before the change was given: the wrong half was the gate."""
    model = model_of(lambda: Set(False))
    assert gate_of(model) == slice(0, FFN)
    for swap in (True, False, True):
        change(model, swap)
        assert gate_of(model) == (slice(FFN, None) if swap else slice(0, FFN))


def test_a_class_whose_forward_is_replaced(monkeypatch):
    model = model_of(lambda: Set(False))
    assert gate_of(model) == slice(0, FFN)

    def swapped(self, x):
        up, gate = self.first(x).chunk(2, -1)
        return self.second(F.silu(gate) * up)

    monkeypatch.setattr(Set, "forward", swapped)
    assert gate_of(model) == slice(FFN, None)


def test_settings_inside_an_object():
    """A nanoGPT-style config is changed in place."""
    settings = Settings(False)
    model = model_of(lambda: Set(settings))
    for layer in model.layers:
        layer.feed_forward.order = lambda: settings.swap
    assert gate_of(model) == slice(0, FFN)
    settings.swap = True
    assert gate_of(model) == slice(FFN, None)


@pytest.mark.parametrize(
    "acts",
    [
        (F.gelu, torch.tanh, torch.sigmoid),
        (functools.partial(F.gelu), functools.partial(F.gelu, approximate="tanh"), functools.partial(F.elu)),
    ],
)
def test_another_model_is_no_model_of_the_same_kind(acts):
    """The activation function of the first was given for all."""
    values = torch.linspace(-3, 3, FFN)
    for act in acts:
        model_map = map_model(model_of(lambda act=act: Acting(act)))
        found = model_map.activation(0)(values.repeat(14, 1)).reshape(14, FFN)[0]
        assert torch.allclose(found, act(values), atol=1e-6)


def test_maps_keep_no_model_alive():
    """A forward that was set on a model, and that holds the model, kept it for ever."""
    models = []
    for _ in range(3):
        model = model_of(lambda: Set(False))
        model.forward = functools.partial(type(model).forward, model)
        map_model(model)
        models.append(weakref.ref(model))
    del model
    gc.collect()
    assert [one() for one in models] == [None] * 3
