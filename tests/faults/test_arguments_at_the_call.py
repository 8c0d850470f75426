"""Arguments are checked where the call stands, and errors name what the user called."""

import pytest
import torch
from transformers import Trainer

from tests.tiny import make_model
from xalign import UnitSet, steer, with_alignment
from xalign.errors import ArgumentTypeError, XAlignError

UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("deu_Latn", {}, "what must be a UnitSet"),
        (UNITS, {"operator": "scale"}, "needs a strength"),
        (UNITS, {"operator": "multiply"}, "operator='multiply'"),
        (UNITS, {"strength": float("inf")}, "strength=inf"),
        (UNITS, {"positions": "everywhere"}, "positions='everywhere'"),
    ],
)
def test_steer_refuses_at_the_call(what, options, said):
    """It said so at `with` only: `context = steer(model, "deu_Latn")` passed."""
    with pytest.raises(XAlignError, match=said):
        steer(make_model("llama"), what, **options)


def test_steer_still_acts_inside_the_with_only():
    """A check at the call must not steer at the call."""
    model = make_model("llama")
    batch = {"input_ids": torch.tensor([[1, 5, 6]])}
    before = model(**batch).logits
    context = steer(model, UNITS, strength=50)
    assert torch.equal(model(**batch).logits, before)
    with context as done:
        assert not torch.equal(model(**batch).logits, before)
    assert done.tokens == 3 and torch.equal(model(**batch).logits, before)


def test_a_trainer_without_alignment_names_the_public_class():
    """The message was of `_WithAlignment.__init__()`."""
    for options in ({}, {"alignment": {"pairs": "bundled"}}):
        with pytest.raises(
            ArgumentTypeError, match=r"AlignedTrainer: .*give alignment=AlignmentConfig\("
        ) as e:
            with_alignment(Trainer)(model=make_model("llama"), **options)
        assert "_WithAlignment" not in str(e.value)
