"""xalign reads what the weights say: gate, neurons and hidden states of architectures of all families."""

from functools import cache

import pytest
import torch

from tests.architectures.oracle import ARCHITECTURES, captured, expected, project
from tests.architectures.zoo import run, zoo
from xalign import Site, visit

TOLERANCE = 1e-5  # of the largest value of a tensor
INPUTS = [
    pytest.param(1, False, id="one line"),
    pytest.param(1, True, id="one line, padded"),
    pytest.param(16, False, id="sixteen lines"),
    pytest.param(16, True, id="sixteen lines, padded"),
]
LENGTH, DECODER_LENGTH = 9, 5


@cache
def specimen(name):
    return next(one for one in zoo() if str(one) == name).build()


def make_inputs(one, lines, padded):
    """Inputs of a specimen for so many lines, and which [line, token] are no padding."""
    model, usual = specimen(one.name)
    draw = torch.Generator().manual_seed(lines + padded)
    lengths = torch.randint(3, LENGTH + 1, (lines,), generator=draw) if lines > 1 else torch.tensor([6])
    if not padded:
        lengths[:] = LENGTH
    kept = torch.arange(LENGTH) < lengths[:, None]
    inputs = {}
    for name, value in usual.items():
        if value.is_floating_point():
            inputs[name] = torch.randn(lines, *value.shape[1:], generator=draw)
        elif name.endswith("input_ids"):
            length = DECODER_LENGTH if name.startswith("decoder") else LENGTH
            inputs[name] = torch.randint(6, 150, (lines, length), generator=draw)
    if "input_ids" in inputs:
        inputs["input_ids"][~kept] = model.config.get_text_config().pad_token_id or 0
        inputs["attention_mask"] = kept.long()
    elif padded and "input_values" in inputs:
        samples = inputs["input_values"].shape[1]
        inputs["attention_mask"] = (torch.arange(samples) < (lengths * samples // LENGTH)[:, None]).long()
    shown = kept if "input_ids" in inputs and one.stack != "decoder" else None
    return model, inputs, shown


def difference(found, wanted, shown):
    assert found.shape == wanted.shape
    if shown is not None:
        found, wanted = found[shown], wanted[shown]
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_there_are_enough_architectures_of_every_family():
    named = {one.name for one in ARCHITECTURES}
    assert len(named) >= 24
    families = {one.family for one in zoo() if str(one) in named}
    assert families == {one.family for one in zoo()}


@pytest.mark.parametrize("lines, padded", INPUTS)
@pytest.mark.parametrize("one", ARCHITECTURES, ids=str)
def test_the_oracle_gives_what_the_down_projection_takes(one, lines, padded):
    model, inputs, shown = make_inputs(one, lines, padded)
    wanted = expected(one, model, inputs)
    seen, outputs = captured(one, model, inputs, one.formula.down)
    assert seen
    for layer, block, taken in seen:
        inner = wanted["inner", layer]
        assert difference(inner, taken.reshape(inner.shape), shown) < TOLERANCE
        assert project(block.get_submodule(one.formula.down), taken).shape[-1] == outputs[layer].shape[-1]


@pytest.mark.parametrize("lines, padded", INPUTS)
@pytest.mark.parametrize("one", ARCHITECTURES, ids=str)
def test_xalign_reads_what_the_oracle_computes(one, lines, padded):
    model, inputs, shown = make_inputs(one, lines, padded)
    wanted = expected(one, model, inputs)
    found = {}
    sites = {key: Site(*key, stack=one.stack) for key in wanted}
    look = {
        site: lambda values, key=key: found.__setitem__(key, values.clone()) for key, site in sites.items()
    }
    with torch.no_grad(), visit(model, look):
        run(model, inputs)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert float(values.std()) > 0  # nothing is shown by zeros
        assert difference(found[key], values, shown) < TOLERANCE, key


def test_the_oracle_tells_a_wrong_formula():
    """One that takes the second half for the gate, or another activation function, is far off."""
    from dataclasses import replace

    from tests.architectures.oracle import gelu_tanh, silu

    one = next(one for one in ARCHITECTURES if one.name.startswith("modernbert"))
    model, inputs, shown = make_inputs(one, 1, False)
    right = expected(one, model, inputs)
    for act in (silu, gelu_tanh):
        wrong = expected(replace(one, formula=replace(one.formula, act=act)), model, inputs)
        assert difference(wrong["inner", 0], right["inner", 0], shown) > 10 * TOLERANCE
