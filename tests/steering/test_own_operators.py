"""Steering units and vectors with operators of one's own: a plain function, and an `Operator`."""

import pytest
import torch

from tests.tiny import WIDTH, make_model
from xalign import LanguageVector, Site, visit
from xalign.errors import ArgumentError
from xalign.model.operators import OPERATORS, Operator
from xalign.model.operators.operands import BOUNDS
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}
NEURONS, HIDDEN = Site("inner", 1), Site("hidden", 1)
ROWS = [("deu_Latn", "1.inner", 7, 0.9, 2.5), ("deu_Latn", "1.inner", 3, 0.8, -1.0)]
UNITS = UnitSet.from_rows(ROWS)
VECTOR = LanguageVector("deu_Latn", {HIDDEN: torch.arange(WIDTH) / WIDTH})


def flip(values, operand):
    """A function as users write it."""
    return operand - values


def at(site, what, **options):
    """The values at a site, and the logits, without and with steering."""
    model, seen, logits = make_model("llama"), [], []
    look = {site: lambda values: seen.append(values.clone())}
    with torch.no_grad():
        with visit(model, look):
            logits.append(model(**BATCH).logits)
        with steer(model, what, **options), visit(model, look):
            logits.append(model(**BATCH).logits)
        assert torch.equal(model(**BATCH).logits, logits[0])
    assert not torch.allclose(*logits, atol=1e-4)
    return seen


@pytest.mark.parametrize("operator", [flip, Operator("flip", flip)])
def test_units(operator):
    before, after = at(NEURONS, UNITS, operator=operator, strength=2.0)
    assert torch.allclose(after[..., 7], 5.0 - before[..., 7])
    assert torch.allclose(after[..., 3], -2.0 - before[..., 3])
    others = [index for index in range(before.shape[-1]) if index not in (3, 7)]
    assert torch.equal(after[..., others], before[..., others])


@pytest.mark.parametrize("operator", [flip, Operator("flip", flip)])
def test_vectors(operator):
    before, after = at(HIDDEN, VECTOR, operator=operator, strength=-2.0)
    assert torch.allclose(after, -2.0 * VECTOR.vectors[HIDDEN] - before, atol=1e-6)


def test_an_operator_says_what_it_makes_of_units_and_vectors():
    near = Operator(
        "near",
        OPERATORS["clamp"].fn,
        operand=BOUNDS,
        of_units=lambda values, strength: (values - strength, values + strength),
        of_vector=None,
    )
    before, after = at(NEURONS, UNITS, operator=near, strength=0.1)
    assert torch.equal(after[..., 7], before[..., 7].clamp(2.4, 2.6))
    with (
        pytest.raises(ArgumentError, match="operator='near' is not for vectors: its of_vector is None"),
        steer(make_model("llama"), VECTOR, operator=near),
    ):
        pass


def test_an_operator_object_of_the_package_is_its_name():
    for name in ("set", "add", "scale", "zero"):
        by_name = at(NEURONS, UNITS, operator=name, strength=3)
        assert torch.equal(by_name[1], at(NEURONS, UNITS, operator=OPERATORS[name], strength=3)[1])
    for name in ("add", "project"):
        by_name = at(HIDDEN, VECTOR, operator=name)
        assert torch.equal(by_name[1], at(HIDDEN, VECTOR, operator=OPERATORS[name])[1])


@pytest.mark.parametrize("name", ["clamp", "project", "replace"])
def test_operators_that_are_not_for_units(name):
    model = make_model("llama")
    with (
        pytest.raises(ArgumentError, match=f"operator='{name}' is not for units: its of_units is None"),
        steer(model, UNITS, operator=OPERATORS[name]),
    ):
        pass
    with (
        pytest.raises(
            ArgumentError,
            match=f"operator='{name}' must be one of set, add, scale, dampen, zero, an Operator",
        ),
        steer(model, UNITS, operator=name),
    ):
        pass


def test_only_operators_that_write_units_values_need_plain_ones():
    activated = UnitSet.from_rows(ROWS, {"settings": {"state": "act"}})
    model = make_model("llama")
    with (
        pytest.raises(ArgumentError, match="values of the state 'act', and 'flip' writes plain values"),
        steer(model, activated, operator=flip),
    ):
        pass
    damp = Operator(
        "damp",
        lambda values, factor: values * factor,
        of_units=lambda values, strength: 1 / (1 + strength),
        writes_unit_values=False,
    )
    before, after = at(NEURONS, activated, operator=damp, strength=3)
    assert torch.allclose(after[..., [3, 7]], before[..., [3, 7]] / 4)
