"""What an operator does, as a matrix and an offset: against the operator itself, on other numbers."""

import pytest
import torch

from xalign import Site
from xalign.errors import ArgumentError
from xalign.exports.affine import affine_of
from xalign.model.edit import Edit
from xalign.model.operators import Operator

SITE, WIDTH = Site("inner", 0), 12


def dense(change):
    """Matrix and offset over all coordinates."""
    return torch.eye(WIDTH, dtype=torch.float64) + change.whole_left() @ change.whole_right(), (
        change.whole_offset()
    )


def turn(values, operand):
    """Turn the values by a fixed rotation, and shift them."""
    generator = torch.Generator().manual_seed(7)
    matrix = torch.linalg.qr(torch.randn(values.shape[-1], values.shape[-1], generator=generator).double()).Q
    return (values.double() @ matrix + operand).to(values.dtype)


TURN = Operator("turn", turn, is_linear=True)
DIRECTION = torch.arange(1.0, WIDTH + 1)
EDITS = {
    "set": Edit("set", torch.tensor([1.5, -2.0]), units=[3, 7]),
    "add": Edit("add", 1e4, units=[3, 7]),
    "add everywhere": Edit("add", DIRECTION),
    "scale": Edit("scale", torch.tensor([0.5, 1.0]), units=[0, 11]),
    "zero": Edit("zero", units=[5]),
    "project": Edit("project", DIRECTION),
    "project some": Edit("project", torch.tensor([1.0, 2.0, -1.0]), units=[1, 4, 9]),
    "turn": Edit(TURN, 0.5),
}


@pytest.mark.parametrize("name", EDITS)
def test_the_change_is_that_of_the_operator(name):
    edit = EDITS[name]
    change = affine_of(SITE, edit, WIDTH)
    values = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    picked = values if edit.indices is None else values[:, edit.indices]
    new = edit.resolved.fn(picked[None], edit.resolved.operand.prepare(edit.value, picked[None], SITE))[0]
    wanted = values.clone()
    wanted[:, slice(None) if edit.indices is None else edit.indices] = new
    matrix, offset = dense(change)
    # `project` computes in float32.
    assert torch.allclose(values @ matrix.T + offset, wanted, atol=1e-6 if "project" in name else 1e-11)
    weight = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.allclose(change.after(weight) @ change.whole_right(), weight @ (matrix - torch.eye(WIDTH)))
    assert torch.allclose(
        change.whole_left() @ change.before(weight.T), (matrix - torch.eye(WIDTH)) @ weight.T
    )


def test_ranks_are_as_low_as_they_can_be():
    ranks = {name: affine_of(SITE, edit, WIDTH).whole_left().shape[1] for name, edit in EDITS.items()}
    assert ranks == {
        "set": 2,
        "add": 0,
        "add everywhere": 0,
        "scale": 1,
        "zero": 1,
        "project": 1,
        "project some": 1,
        "turn": WIDTH - 1,  # it mirrors, so that one direction stays
    }
    assert [name for name, edit in EDITS.items() if affine_of(SITE, edit, WIDTH).is_offset] == [
        "add",
        "add everywhere",
    ]


def test_a_rank_above_what_is_tried_first():
    """Of a wide matrix the factors are searched for with 8 directions, then 16, …"""
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(40, 11, generator=generator, dtype=torch.float64) / 40
    matrix = low @ torch.randn(11, 40, generator=generator, dtype=torch.float64)

    def shear(values, operand):
        return values + values @ matrix.T.to(values)

    change = affine_of(SITE, Edit(Operator("shear", shear, is_linear=True), 0.0), 40)
    assert change.left.shape == (40, 11)
    assert torch.allclose(change.left @ change.right, matrix, atol=1e-10)


def test_zeros_and_ones_are_exact():
    change = affine_of(SITE, EDITS["set"], WIDTH)
    assert change.whole_scale().tolist() == [0.0 if at in (3, 7) else 1.0 for at in range(WIDTH)]
    assert change.whole_offset()[[3, 7]].tolist() == [1.5, -2.0]
    assert affine_of(SITE, EDITS["add"], WIDTH).whole_scale().tolist() == [1.0] * WIDTH


def test_columns_of_a_wider_tensor():
    change = affine_of(SITE, Edit("zero", units=[2]), 2 * WIDTH, slice(1, None, 2))
    assert change.index.tolist() == [5] and change.width == 2 * WIDTH


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("clamp", (0.0, None)), r"operator='clamp' at site 0.inner cannot be exported: it is no affine"),
        (
            Edit("replace", torch.ones(2, WIDTH)),
            "operator='replace' .* mark an Operator of your own as is_lin",
        ),
        (Edit(lambda values, operand: values * operand, 2.0), "its is_linear is False"),
        (
            Edit(Operator("square", lambda v, o: v * v, is_linear=True), 0.0),
            "'square' .* says is_linear=True",
        ),
        (
            Edit(Operator("broken", lambda v, o: v.nothing, is_linear=True), 0.0),
            "'broken' .* raised Attribute",
        ),
    ],
)
def test_what_is_no_affine_change_is_refused(edit, message):
    with pytest.raises(ArgumentError, match=message):
        affine_of(SITE, edit, WIDTH)
