"""A function that the user passes may be wrong: the error is xalign's, and names the call."""

import pytest
import torch

from tests.tiny import make_model
from xalign import Site, UnitSet, steer
from xalign.errors import ArgumentError, ArgumentTypeError, XAlignError
from xalign.model.operators import Operator
from xalign.model.write import Edit, write

IDS = torch.tensor([[1, 20, 30]])
SITE = Site("hidden", 1)


def fails(*args):
    raise KeyError("mine")


def run(edit, positions="all"):
    model = make_model("llama")
    with torch.no_grad(), write(model, {SITE: edit}, positions=positions):
        model(input_ids=IDS)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (lambda: True, r"positions=.* must be a function \(tokens\)"),
        (lambda one, two: one, r"positions=.* must be a function \(tokens\)"),
        (lambda tokens: tokens.nothing, r"positions\(tokens\) raised AttributeError"),
        (fails, r"positions\(tokens\) raised KeyError: 'mine'"),
        (lambda tokens: [0, 1], "must return a boolean tensor"),
        (lambda tokens: tokens.ids, "must return a boolean tensor"),
        (lambda tokens: None, "must return a boolean tensor"),
        (lambda tokens: tokens.real[0], "must return a boolean tensor"),
        (torch.zeros(1, 0, dtype=torch.bool), "must be a boolean mask"),
    ],
)
def test_positions(positions, message):
    """They ended in a foreign TypeError, AttributeError, KeyError or IndexError."""
    with pytest.raises(XAlignError, match=message):
        run(Edit("add", 1.0), positions)


@pytest.mark.parametrize("operator", [fails, lambda values, operand: values @ values])
def test_operators(operator):
    """They ended in a foreign TypeError, KeyError or RuntimeError."""
    with pytest.raises(ArgumentError, match="operator .* at site 1.hidden raised") as raised:
        run(Edit(operator, torch.ones(32)) if operator is not fails else Edit(operator, 1.0))
    assert isinstance(raised.value.__cause__, TypeError | KeyError | RuntimeError)


def test_an_operator_without_an_operand():
    """It was called first, in the middle of a forward."""
    with pytest.raises(ArgumentTypeError, match=r"operator=.* must be a function \(values, operand\)"):
        Edit(lambda values: values, torch.ones(32))


def test_operands_of_an_operator_of_ones_own():
    """The function that makes the operand ended in a foreign error."""
    units = UnitSet.from_rows([("x", "1.inner", 7, 1, 2.5)])
    operator = Operator("mine", lambda values, operand: values, of_units=fails)
    message = "operator .mine., asked for the operand at site 1.inner, raised"
    with pytest.raises(ArgumentError, match=message), steer(make_model("llama"), units, operator=operator):
        pass


def test_running_out_of_memory_stays_what_it_is():
    """Whoever measures halves its batch on that error."""

    def full(tokens):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        run(Edit("add", 1.0), full)
