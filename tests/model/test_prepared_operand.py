"""An operand is brought to the values once, and anew where it may have changed or is trained."""

import pytest
import torch

from tests.tiny import make_model
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit
from xalign.model.operators.operands import OperandKind, _check_per_unit, _check_width_per_unit
from xalign.model.operators.operator import Operator
from xalign.model.prepared_operand import PreparedOperand
from xalign.model.write import write

SITE = Site("inner", 0)
VALUES = torch.zeros(1, 2, 3)
BATCH = {"input_ids": torch.tensor([[5, 6, 7, 8]])}


@pytest.fixture
def counting():
    """An operator whose operand notes how often it is prepared."""
    calls = []

    def prepare(operand, values, site):
        calls.append(site)
        return operand.to(values.device, values.dtype)

    kind = OperandKind(_check_per_unit, _check_width_per_unit, prepare, once=True)
    return Operator("add", lambda values, operand: values + operand, operand=kind), calls


def test_it_is_prepared_once_for_each_data_type(counting):
    operator, calls = counting
    vector = torch.ones(3)
    prepared = PreparedOperand(Edit(operator, vector), SITE)
    first = prepared(vector, VALUES)
    assert prepared(vector, VALUES) is first
    assert prepared(vector, VALUES.double()).dtype == torch.float64
    assert len(calls) == 2


def test_a_change_in_place_is_seen(counting):
    operator, calls = counting
    vector = torch.ones(3, dtype=torch.float64)
    prepared = PreparedOperand(Edit(operator, vector), SITE)
    prepared(vector, VALUES)
    vector.mul_(5)
    assert prepared(vector, VALUES).tolist() == [5.0] * 3
    assert len(calls) == 2


def test_what_was_prepared_without_gradients_in_inference_mode_can_be_trained_through():
    model, vector = make_model("llama"), torch.ones(80)
    with write(model, {SITE: Edit("scale", vector.double())}):
        with torch.inference_mode():
            model(**BATCH)
        model(**BATCH).logits.sum().backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


def test_a_trained_operand_has_its_gradient_after_a_forward_without_one():
    model, vector = make_model("llama"), torch.ones(80, dtype=torch.float64, requires_grad=True)
    with write(model, {SITE: Edit("add", vector)}):
        with torch.no_grad():
            model(**BATCH)
        for _ in range(2):
            model(**BATCH).logits.sum().backward()
    assert vector.grad is not None
    assert vector.grad.norm() > 0


def test_values_that_no_data_type_holds_are_refused_once_prepared_and_written():
    model = make_model("llama").half()
    for operator, value in (("set", torch.full((80,), 1e6)), ("set", 1e6), ("add", torch.full((80,), 1e6))):
        with pytest.raises(Exception, match="1e\\+06"), write(model, {SITE: Edit(operator, value)}):
            model(**BATCH)
