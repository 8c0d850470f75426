"""A strength that the values cannot hold is refused, and so is an operator that would do nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import WIDTH, make_model
from xalign import LanguageVector, Site, UnitSet, steer, visit
from xalign.errors import ArgumentError
from xalign.model.operators import OPERATORS, Operator
from xalign.model.write import Edit, write

BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}
SITE = Site("hidden", 1)
UNITS = UnitSet.from_rows([("x", "1.inner", 7, 0.9, 2.5), ("x", "2.inner", 3, 0.8, -1.0)])
VECTOR = LanguageVector("x", {SITE: torch.full((WIDTH,), 0.5)})
LARGEST = {dtype: torch.finfo(dtype).max for dtype in (torch.float16, torch.bfloat16, torch.float32)}


def run(what, dtype=torch.float32, **options):
    model = make_model("llama").to(dtype)
    with torch.no_grad(), steer(model, what, **options):
        return model(**BATCH).logits


@pytest.mark.parametrize("what", [UNITS, VECTOR], ids=["units", "vector"])
@pytest.mark.parametrize("operator", ["set", "add", "scale", None])
@pytest.mark.parametrize(
    ("dtype", "strength"), [(torch.float16, 1e6), (torch.float32, 1e39), (torch.bfloat16, 1e39)]
)
def test_strengths_that_overflow(what, operator, dtype, strength):
    """They became infinite, and the logits NaN."""
    if what is VECTOR and operator in ("set", "scale"):
        return
    with pytest.raises(ArgumentError, match="smaller strength|is too large"):
        run(what, dtype, operator=operator, strength=strength)


@settings(max_examples=40)
@given(
    st.sampled_from(list(LARGEST)),
    st.sampled_from(["set", "add", "scale"]),
    st.floats(-45, 45).map(lambda power: math.copysign(10.0 ** abs(power), power)),
)
def test_values_written_are_finite_or_refused(dtype, operator, value):
    """Any strength gives finite values at the site, or an error."""
    model, seen = make_model("llama").to(dtype), []
    look = {SITE: seen.append}
    with torch.no_grad():
        try:
            with write(model, {SITE: Edit(operator, value)}), visit(model, look):
                model(**BATCH)
        except ArgumentError as error:
            assert "smaller strength" in str(error)
            assert abs(value) > LARGEST[dtype] / 1e4  # not refused where it fits
            return
    assert seen[0].isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("nan")), -torch.inf])
@pytest.mark.parametrize("operator", ["set", "add", "scale"])
def test_operands_that_are_not_finite(operator, value):
    """They were written."""
    with pytest.raises(ArgumentError, match="must be finite"):
        Edit(operator, value)
    wrong = torch.tensor([1.0, torch.nan])
    for name, operand in (("project", wrong), ("replace", wrong.unsqueeze(0))):
        with pytest.raises(ArgumentError, match="must be finite"):
            Edit(name, operand)
    with pytest.raises(ArgumentError, match="must not be NaN"):
        Edit("clamp", (float("nan"), 1.0))
    Edit("clamp", (-torch.inf, 1.0))  # no lower bound


def test_values_that_were_not_finite_before_are_not_blamed_on_the_edit():
    """Padding may hold NaN in some models; an edit elsewhere is no reason to stop."""
    model = make_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[20] = torch.nan
    with torch.no_grad(), write(model, {SITE: Edit("add", 1.0)}) as done:
        model(**BATCH)
    assert done.tokens == 6


class Waits(TorchDispatchMode):
    """Counts how often a program asks for a number that a GPU would first have to finish."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)
        return function(*args, **kwargs or {})


def waits_of(edits, forwards):
    model, waits = make_model("llama"), Waits()
    with torch.no_grad(), write(model, edits) as done, waits:
        for _ in range(forwards):
            model(**BATCH)
    assert done.forwards == forwards and done.tokens == 6 * forwards
    return waits.count


@pytest.mark.parametrize("operator", ["add", "set", "scale"])
def test_one_look_per_forward_however_many_sites(operator):
    """Each site waited for the GPU in each forward, to look whether its values are finite."""
    sites = [Site(kind, layer) for layer in range(3) for kind in ("inner", "hidden", "mlp_out")]
    one, all_sites = ({site: Edit(operator, 2.0) for site in some} for some in (sites[:1], sites))
    assert waits_of(one, 4) == waits_of(all_sites, 4)
    assert waits_of(one, 4) > 0  # the check is there, and counted
    per_forward = (waits_of(all_sites, 8) - waits_of(all_sites, 4)) / 4
    unedited = make_model("llama")
    with torch.no_grad(), Waits() as waits:
        unedited(**BATCH)
    assert per_forward - waits.count <= 4  # beside the check, three that come before the forward


@pytest.mark.parametrize("site", [Site("inner", 0), Site("hidden", 0), Site("mlp_out", 2), Site("hidden", 2)])
def test_the_forward_that_overflows_is_refused_and_its_site_named(site):
    """The check comes once, but no output of such a forward is ever returned."""
    model, returned = make_model("llama").to(torch.float16), []
    others = {Site("inner", layer): Edit("scale", 1.0) for layer in range(3)}
    with (
        torch.no_grad(),
        pytest.raises(
            ArgumentError, match=f"operator 'scale' at site {site} makes values that torch.float16"
        ),
        write(model, others | {site: Edit("scale", 6e4)}),
    ):
        with torch.no_grad():
            for module in (
                model.model.layers[site.layer].mlp.down_proj,
                model.model.layers[site.layer].mlp.up_proj,
            ):
                module.weight.fill_(4.0)
        returned.append(model(**BATCH))
    assert not returned


def test_after_a_refused_forward_the_next_one_is_looked_at_anew():
    model = make_model("llama").to(torch.float16)
    strengths = iter([6e4, 1.0, 6e4])
    edit = Edit(lambda values, operand: values * 64 * next(strengths), 0.0)
    with torch.no_grad(), write(model, {SITE: edit}):
        for fits in (False, True, False):
            if fits:
                assert model(**BATCH).logits is not None
            else:
                with pytest.raises(ArgumentError, match="smaller strength"):
                    model(**BATCH)


def test_scale_needs_a_strength():
    """At its default strength, 1, it did nothing, without a word."""
    with pytest.raises(ArgumentError, match="operator='scale' needs a strength: at 1, the default, it does"):
        run(UNITS, operator="scale")
    one, two = (run(UNITS, operator="scale", strength=strength) for strength in (1, 2.0))
    assert not torch.equal(one, two)
    for name in ("set", "add", "zero"):
        run(UNITS, operator=name)
    assert [name for name, one in OPERATORS.items() if one.needs_strength] == ["scale"]
    mine = Operator("mine", OPERATORS["scale"].fn, needs_strength=True)
    with pytest.raises(ArgumentError, match="operator='mine' needs a strength"):
        run(UNITS, operator=mine)
