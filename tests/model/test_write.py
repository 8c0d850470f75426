import pytest
import torch

from tests.tiny import WIDTH, make_model
from xalign import Reading, Site, visit
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.capture import capture
from xalign.model.write import Edit, write

BATCH = {"input_ids": torch.arange(4, 16).reshape(2, 6)}
SITE = Site("hidden", 1)


def values_after(edit):
    model, seen = make_model("llama"), []
    with torch.no_grad():
        with capture(model, [SITE]) as states:
            model(**BATCH)
        with write(model, {SITE: edit}), visit(model, {SITE: lambda x: seen.append(x)}):
            model(**BATCH)
    return states[SITE], seen[0]


PER_UNIT = torch.tensor([2.0, -1.0])


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit("set", 3.0), lambda x: torch.full_like(x, 3.0)),
        (
            Edit("set", PER_UNIT, [4, 9]),
            lambda x: x.index_copy(2, torch.tensor([4, 9]), PER_UNIT.expand(2, 6, 2)),
        ),
        (Edit("add", 1.5), lambda x: x + 1.5),
        (
            Edit("add", PER_UNIT, [4, 9]),
            lambda x: x.index_add(2, torch.tensor([4, 9]), PER_UNIT.expand(2, 6, 2)),
        ),
        (Edit("add", torch.arange(float(WIDTH))), lambda x: x + torch.arange(float(WIDTH))),
        (Edit("scale", -2), lambda x: x * -2),
        (Edit("zero", units=[0]), lambda x: x.index_fill(2, torch.tensor([0]), 0.0)),
        (Edit("zero"), torch.zeros_like),
    ],
)
def test_operators(edit, expected):
    before, after = values_after(edit)
    assert not torch.equal(before, after)
    assert torch.allclose(after, expected(before))


def test_the_model_is_what_it_was_after_an_exception():
    model = make_model("gpt2")
    with torch.no_grad():
        before = model(**BATCH).logits
        with pytest.raises(ZeroDivisionError), write(model, {SITE: Edit("add", 10.0)}):
            assert not torch.equal(model(**BATCH).logits, before)
            raise ZeroDivisionError
        assert torch.equal(model(**BATCH).logits, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("multiply", 1.0), "operator='multiply' must be one of set, add, scale, dampen, zero"),
        (("add",), "needs a value"),
        (("zero", 1.0), "takes no value"),
        (("add", "1"), "must be a number or a tensor"),
        (("add", 1.0, []), "different indices"),
        (("add", 1.0, [2, 2]), "different indices"),
    ],
)
def test_edits_that_mean_nothing(arguments, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        Edit(*arguments)


def test_units_and_values_must_fit_the_site():
    model = make_model("llama")
    for edit, message in (
        (Edit("zero", units=[WIDTH]), "has 32 units from 0"),
        (Edit("zero", units=[-1]), "outside site"),
        (Edit("set", torch.zeros(3), [1, 2]), r"shape \(3,\)"),
    ):
        with pytest.raises(ArgumentError, match=message), write(model, {SITE: edit}):
            pass
    with pytest.raises(ArgumentError, match="sites is empty"), capture(model, []):
        pass
    with pytest.raises(ModelError, match="blocks 0 to 2"), capture(model, [Site("inner", 7)]):
        pass


def test_edits_of_the_wrong_type():
    model = make_model("llama")
    for edits, message in (
        ([SITE], "edits must map"),
        ({SITE: "zero"}, "edits must map"),
        ({"1.hidden": Edit("zero")}, "see Site.parse"),
    ):
        with pytest.raises(ArgumentTypeError, match=message), write(model, edits):
            pass
    for units in (3, [True], ["a"], [0.5]):
        with pytest.raises(ArgumentTypeError, match="units="):
            Edit("zero", units=units)
    assert Edit("zero", units=torch.tensor([2, 5])).units == [2, 5]
    with pytest.raises(ArgumentError, match="operator="):
        Edit(["zero"])
    for sites in (SITE, "1.hidden", None):
        with pytest.raises(ArgumentTypeError, match="sites must be a list of places"), capture(model, sites):
            pass
    with pytest.raises(ArgumentTypeError, match="site must be text"):
        Site.parse(3)
    with pytest.raises(ArgumentTypeError, match=r"site must be an xalign\.Site"):
        Reading("1.hidden")
