import pytest

from xalign import Reading, Site
from xalign.errors import ArgumentError, ArgumentTypeError, XAlignError


@pytest.mark.parametrize(
    "text",
    [
        "3.inner",
        "decoder.3.inner",
        "3.inner.1",
        "decoder.3.attn_out.2",
        "embed.hidden",
        "final.hidden",
        "0.gate",
        "3.act",
        "linear:model.layers.3.mlp.up_proj",
        "norm:model.norm",
    ],
)
def test_printed_and_parsed(text):
    assert str(Site.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["inner", "3", "a.b.c.d", "-1.inner", "3.neuron", "embed.inner", "first.hidden", ""]
)
def test_no_site(text):
    with pytest.raises(XAlignError):
        Site.parse(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neuron", 3), "kind='neuron' must be one of"),
        (("inner", -1), "negative"),
        (("inner", "final"), "no layer of kind inner"),
        (("inner",), "layer=None"),
        (("hidden", 0.5), "layer=0.5"),
        (("hidden", True), "layer=True"),
        (("linear", 3), "takes name="),
        (("linear",), "takes name="),
        (("inner", 3, "mid.dle"), "stack='mid.dle'"),
        (("inner", 3, "", "a.b"), "is for linear and norm sites"),
        (("inner", 3, "", None, -1), "part=-1 must be a number from 0"),
        (("hidden", 3, "", None, 1), "for sites within a block"),
    ],
)
def test_names_that_mean_no_place(arguments, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        Site(*arguments)


def test_reading():
    assert str(Reading(Site("gate", 3), "active")) == "3.gate:active:weighted"
    for arguments, message in (
        ({"state": "on"}, "state='on' must be one of"),
        ({"pool": "sum"}, "pool='sum' must be one of"),
        ({"state": "act"}, "has no activation function"),
    ):
        with pytest.raises(ArgumentError, match=message):
            Reading(Site("inner", 3), **arguments)
