"""`Loss`: what it says of its function, and what it refuses."""

from functools import partial, wraps
from typing import get_args

import pytest
import torch
from torch import nn

from xalign.errors import ArgumentError, ArgumentTypeError, XAlignError
from xalign.losses import LOSSES
from xalign.losses.loss import KINDS, LINKS, MASKS, OPTIONS, START, Loss, Pool, resolve_loss
from xalign.losses.neuron_state import smooth_state
from xalign.model.architectures import sites


def plain(language, pivot):
    return (language - pivot).square().mean()


def tokens(language, pivot, *, language_mask, pivot_mask):
    return (language * language_mask.unsqueeze(-1)).sum() - (pivot * pivot_mask.unsqueeze(-1)).sum()


def words(language, pivot, *, links, language_mask, pivot_mask, start):
    return tokens(language, pivot - start, language_mask=language_mask, pivot_mask=pivot_mask) + links.sum()


def test_what_the_losses_that_ship_say_of_themselves():
    said = {
        name: (loss.kinds, loss.pool, loss.temperature, loss.needs_negatives, loss.level, loss.options)
        for name, loss in LOSSES.items()
    }
    assert said == {
        "contrastive": (KINDS, "mean", 0.05, True, "pair", OPTIONS),
        "cosine": (KINDS, "mean", None, False, "pair", ("detach_pivot",)),
        "neuron_state": (("gate",), "weighted", 0.1, True, "pair", OPTIONS),
        "additive_margin": (KINDS, "mean", 0.05, True, "pair", OPTIONS),
        "hinge": (KINDS, "mean", None, True, "pair", OPTIONS[1:]),
        "mse": (KINDS, "mean", None, False, "pair", ()),
        "cka": (KINDS, "mean", None, True, "pair", ("detach_pivot",)),
        "token_cka": (KINDS, "mean", None, False, "token", ("detach_pivot", *MASKS)),
        "transport": (KINDS, "mean", 0.1, False, "token", ("temperature", "detach_pivot", *MASKS)),
        "word_level": (KINDS, "mean", None, False, "word", (*START, *MASKS, *LINKS)),
    }
    assert [name for name, loss in LOSSES.items() if loss.needs_links] == ["word_level"]
    assert [name for name, loss in LOSSES.items() if loss.needs_start] == ["word_level"]
    assert [name for name, loss in LOSSES.items() if loss.needs_shares] == ["neuron_state"]
    values = torch.tensor([0.25], dtype=torch.bfloat16)
    assert LOSSES["contrastive"].state(values).dtype == torch.float32
    assert torch.equal(LOSSES["neuron_state"].state(values), smooth_state(values))


def test_its_words_are_those_of_sites():
    known = (kind for kind in sites.KINDS if kind not in (*sites.EXPERT_KINDS, *sites.PATH_KINDS, "act"))
    assert tuple(known) == KINDS
    assert get_args(Pool) == sites.POOLS


class Scaled(nn.Module):
    """A loss with parameters of its own, whose forward names options."""

    def forward(self, language, pivot, *, languages=None, temperature=0.6):
        return plain(language, pivot) / temperature


def test_options_are_read_off_the_signature():
    def all_but_same(language, pivot, temperature=0.3, *, languages=None, gather=False, other=1):
        return plain(language, pivot)

    @wraps(all_but_same)
    def wrapped(*args, **kwargs):
        return all_but_same(*args, **kwargs)

    def anything(*args, **kwargs):
        return plain(*args)

    for one in (all_but_same, wrapped):
        assert Loss("own", one).options == ("temperature", "languages", "gather")
        assert Loss("own", one).temperature == 0.3
    assert Loss("own", all_but_same, temperature=0.7).temperature == 0.7
    assert Loss("own", partial(all_but_same, temperature=0.4)).temperature == 0.4
    assert Loss("own", anything).options == ()
    assert Loss("own", nn.MSELoss()).options == ()
    assert Loss("own", Scaled()).options == ("temperature", "languages")
    assert Loss("own", torch.dist).options == ()  # a built-in without a signature
    assert Loss("own", lambda same, languages: plain(same, languages)).options == ()  # these are the sides
    assert Loss("own", tokens, level="token").options == ("language_mask", "pivot_mask")


def test_names_objects_and_functions():
    loss = Loss("own", plain, kinds=["inner"])
    assert loss.kinds == ("inner",)
    assert resolve_loss(loss, LOSSES) is loss
    assert resolve_loss("cosine", LOSSES) is LOSSES["cosine"]
    wrapped = resolve_loss(plain, LOSSES)
    assert (wrapped.name, wrapped.fn, wrapped.kinds, wrapped.pool) == ("plain", plain, KINDS, "mean")
    assert (wrapped.temperature, wrapped.needs_negatives, wrapped.level) == (None, False, "pair")
    assert resolve_loss(tokens, LOSSES).level == "token"
    assert resolve_loss(words, LOSSES).level == "word"
    assert resolve_loss(nn.L1Loss(), LOSSES).name == "L1Loss"


def needs_temperature(language, pivot, temperature):
    return plain(language, pivot) / temperature


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Loss("", plain), ArgumentTypeError, "name='' must be a name, like 'contrastive'"),
        (lambda: Loss("own", "plain"), ArgumentTypeError, "loss 'own': fn='plain' must be a function of ten"),
        (lambda: Loss("own", nn.L1Loss), ArgumentTypeError, "fn=<class .*> must be a function"),
        (lambda: Loss("own", plain, state=None), ArgumentTypeError, "state=None must be a function"),
        (
            lambda: Loss("own", plain, kinds="gate"),
            ArgumentError,
            "kinds='gate' must be a tuple of some of hid",
        ),
        (lambda: Loss("own", plain, kinds=()), ArgumentError, r"kinds=\(\) must be a tuple"),
        (lambda: Loss("own", plain, kinds=("linear",)), ArgumentError, r"kinds=\('linear',\) must be"),
        (lambda: Loss("own", plain, pool="cls"), ArgumentError, "pool='cls' must be one of weighted, last"),
        (lambda: Loss("own", plain, level="text"), ArgumentError, "level='text' must be one of pair, token"),
        (lambda: Loss("own", plain, level="token"), ArgumentError, "must take language_mask and pivot_mask"),
        (lambda: Loss("own", tokens, level="word"), ArgumentError, "words must take .* it lacks links"),
        (
            lambda: Loss("own", plain, temperature=0.1),
            ArgumentError,
            "temperature=0.1 is given, and its func",
        ),
        (lambda: Loss("own", needs_temperature), ArgumentError, "needs a default temperature above 0"),
        (lambda: Loss("own", needs_temperature, temperature=0), ArgumentError, "temperature above 0"),
        (lambda: Loss("own", needs_temperature, temperature=True), ArgumentError, "temperature above 0"),
        (lambda: Loss("own", lambda language: language), ArgumentError, "too many positional arguments"),
        (lambda: Loss("own", tokens), ArgumentError, "missing a required.* 'language_mask'"),
        (lambda: resolve_loss("kl", LOSSES), ArgumentError, "loss='kl' must be one of contrastive, cosine"),
        (lambda: resolve_loss(None, LOSSES), ArgumentTypeError, "loss=None must be one of .* of your own"),
        (lambda: resolve_loss(nn.L1Loss, LOSSES), ArgumentTypeError, "loss=<class"),
    ],
)
def test_what_is_refused(call, error, message):
    assert issubclass(error, XAlignError)
    with pytest.raises(error, match=message):
        call()
