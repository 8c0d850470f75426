"""Operators as objects: what each says of itself, and operators of one's own in `Edit` and `write`."""

import pickle

import pytest
import torch

from tests.tiny import WIDTH, make_model
from xalign import Site, visit
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model import write as write_module
from xalign.model.operators import OPERATORS, Operator, OperatorLike, resolve_operator
from xalign.model.operators.operands import BOUNDS, DIRECTION, NOTHING, PER_SENTENCE
from xalign.model.write import Edit, write

BATCH = {"input_ids": torch.arange(4, 16).reshape(2, 6)}
SITE = Site("hidden", 1)
OPERANDS = {
    "set": torch.tensor([1.0, -2.0, 3.0]),
    "add": torch.tensor([1.0, -2.0, 3.0]),
    "scale": torch.tensor([0.5, -2.0, 3.0]),
    "dampen": torch.tensor([0.5, 0.0, 1.0]),
    "zero": None,
    "clamp": (-0.1, torch.tensor([0.2, 0.0, 0.1])),
    "project": torch.tensor([1.0, -2.0, 3.0]),
    "project_add": torch.tensor([1.0, -2.0, 3.0]),
    "add_keep_norm": torch.tensor([1.0, -2.0, 3.0]),
    "replace": torch.tensor([[1.0, -2.0, 3.0], [0.0, 5.0, 1.0]]),
    "affine": (torch.tensor([0.5, 0.0, 1.0]), -2.0),
    "transform": (torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 0.5], [3.0, 0.0, 1.0]]), torch.ones(3)),
}


def flip(values, operand):
    """A function as users write it."""
    return operand - values


def halve(values, operand):
    return values / 2


def values_with(edit, **options):
    """The values at SITE without and with an edit."""
    model, seen = make_model("llama"), []
    look = {SITE: lambda values: seen.append(values.clone())}
    with torch.no_grad():
        with visit(model, look):
            model(**BATCH)
        with write(model, {SITE: edit}, **options), visit(model, look):
            model(**BATCH)
    return seen


def test_the_names_are_those_of_before():
    known = ["set", "add", "scale", "zero", "clamp", "project", "replace"]
    assert [name for name in OPERATORS if name in known] == known
    assert list(OPERATORS) == list(OPERANDS)
    assert all(operator.name == name for name, operator in OPERATORS.items())
    assert [name for name, one in OPERATORS.items() if one.of_units] == [
        *("set", "add", "scale", "dampen", "zero"),
    ]
    assert [name for name, one in OPERATORS.items() if one.of_vector] == [
        *("add", "project", "project_add", "add_keep_norm"),
    ]
    assert [name for name, one in OPERATORS.items() if one.writes_unit_values and one.of_units] == [
        "set",
        "add",
    ]


@pytest.mark.parametrize("name", OPERATORS)
def test_is_linear_is_what_the_numbers_say(name):
    """An affine map keeps weighted means, also of tokens of different sentences; the others do not."""
    operator = OPERATORS[name]
    torch.manual_seed(0)
    values = torch.randn(2, 4, 3)
    operand = operator.operand.prepare(OPERANDS[name], values, SITE)
    others = values.flip(0, 1)  # each token beside one of the other sentence
    assert not torch.allclose(values, others)
    mean_of_new = 0.3 * operator.fn(values, operand) + 0.7 * operator.fn(values, operand).flip(0, 1)
    new_of_mean = operator.fn(0.3 * values + 0.7 * others, operand)
    assert torch.allclose(mean_of_new, new_of_mean, atol=1e-5) is operator.is_linear


def test_what_is_linear():
    assert [name for name, one in OPERATORS.items() if one.is_linear] == [
        "set",
        "add",
        "scale",
        "dampen",
        "zero",
        "project",
        "project_add",
        "affine",
        "transform",
    ]


@pytest.mark.parametrize("operator", [flip, Operator("flip", flip)])
def test_an_operator_of_ones_own_writes(operator):
    before, after = values_with(Edit(operator, torch.tensor([2.0, -1.0]), [4, 9]))
    assert torch.allclose(after[..., 4], 2.0 - before[..., 4])
    assert torch.allclose(after[..., 9], -1.0 - before[..., 9])
    rest = [unit for unit in range(WIDTH) if unit not in (4, 9)]
    assert torch.equal(after[..., rest], before[..., rest])
    before, after = values_with(Edit(operator, 1.0), positions="last_prompt")
    assert torch.equal(after[:, :-1], before[:, :-1])
    assert torch.allclose(after[:, -1], 1.0 - before[:, -1])


def test_kinds_of_operands_of_ones_own():
    before, after = values_with(Edit(Operator("halve", halve, operand=NOTHING)))
    assert torch.allclose(after, before / 2)
    assert not torch.allclose(after, before)

    def outside(values, bounds):
        low, high = bounds
        return torch.where((values > low) & (values < high), 0, values)

    before, after = values_with(Edit(Operator("outside", outside, operand=BOUNDS), (-0.5, 0.5)))
    assert torch.equal(after, torch.where(before.abs() < 0.5, 0, before))
    assert 0 < (after == 0).sum() < after.numel()
    rows = torch.randn(2, WIDTH)
    added = Operator("add_rows", lambda values, rows: values + rows[:, None], operand=PER_SENTENCE)
    before, after = values_with(Edit(added, rows))
    assert torch.allclose(after, before + rows[:, None])
    arrived = []
    seen = Operator("seen", lambda values, axis: arrived.append(axis.dtype) or values + 0, operand=DIRECTION)
    values_with(Edit(seen, torch.ones(WIDTH, dtype=torch.float64)))
    assert arrived == [torch.float32]


@pytest.mark.parametrize(
    ("operator", "value", "message"),
    [
        (flip, None, "operator 'flip' needs a value"),
        (flip, "1", "must be a number or a tensor of one value per unit"),
        (Operator("halve", halve, operand=NOTHING), 1.0, "operator 'halve' takes no value"),
        (Operator("mine", halve, operand=BOUNDS), 1.0, r"mine takes \(low, high\)"),
        (Operator("mine", halve, operand=DIRECTION), torch.zeros(3), "mine takes a direction"),
        (
            Operator("mine", halve, operand=PER_SENTENCE),
            torch.zeros(3),
            r"mine takes a tensor \[sentence, unit\]",
        ),
        ("flip", 1.0, "operator='flip' must be one of set, add, .*, an Operator, or a function"),
    ],
)
def test_operands_are_checked_when_an_edit_is_made(operator, value, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        Edit(operator, value)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda values, operand: values[..., :1], r"returned shape torch.Size\(\[2, 6, 1\]\)"),
        (lambda values, operand: values.double(), "returned dtype torch.float64"),
        (lambda values, operand: 3, "must return a tensor, not int"),
        (lambda values, operand: values.mul_(operand), "changed the values in place"),
    ],
)
def test_what_an_operator_returns_is_checked(fn, message):
    with pytest.raises(
        (ArgumentError, ArgumentTypeError), match=f"operator 'mine' at site 1.hidden {message}"
    ):
        values_with(Edit(Operator("mine", fn), 2.0))


def test_a_width_that_does_not_fit_the_site():
    with pytest.raises(ArgumentError, match=r"shape \(3,\); give one number, or one per unit"):
        values_with(Edit(flip, torch.zeros(3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name='' must be text"),
        ({"fn": 3}, "fn must be a function"),
        ({"operand": "bounds"}, "operand must be an OperandKind"),
        ({"of_units": 2}, "of_units must be a function"),
        ({"of_vector": "add"}, "of_vector must be a function"),
    ],
)
def test_an_operator_is_checked_when_it_is_made(arguments, message):
    with pytest.raises(ArgumentTypeError, match=message):
        Operator(**{"name": "mine", "fn": halve} | arguments)


def test_resolving():
    assert resolve_operator("add", OPERATORS) is OPERATORS["add"]
    assert resolve_operator(OPERATORS["add"], {}) is OPERATORS["add"]
    assert resolve_operator(flip, OPERATORS).name == "flip"
    assert Edit("add", 1.0).operator == "add"
    for wrong in (["zero"], None, 3):
        with pytest.raises(ArgumentError, match="operator="):
            resolve_operator(wrong, OPERATORS)


def test_the_type_of_0_1_0_still_imports():
    vars(write_module).pop("Operator", None)
    with pytest.warns(
        DeprecationWarning, match=r"xalign\.model\.write\.Operator is deprecated.*OperatorLike"
    ):
        assert write_module.__getattr__("Operator") == OperatorLike
    vars(write_module).pop("Operator", None)


def test_every_operator_can_be_pickled():
    for operator in OPERATORS.values():
        assert pickle.loads(pickle.dumps(operator)) == operator


def test_a_change_in_place_is_refused_in_inference_mode_too():
    def spoils(values, operand):
        values.mul_(0)
        return values.clone() + operand

    model = make_model("llama")
    with (
        torch.inference_mode(),
        pytest.raises(ArgumentError, match="changed the values in place"),
        write(model, {Site("inner", 1): Edit(spoils, 1.0)}, positions="last_prompt"),
    ):
        model(input_ids=torch.arange(4, 14)[None])


def test_adding_at_the_norm_that_was_there():
    vector = torch.linspace(-3, 4, WIDTH)
    before, after = values_with(Edit("add_keep_norm", vector))
    assert torch.allclose(after.norm(dim=-1), before.norm(dim=-1), rtol=1e-5)
    moved = before + vector
    assert torch.allclose(
        after, moved / moved.norm(dim=-1, keepdim=True) * before.norm(dim=-1, keepdim=True), atol=1e-5
    )
    assert not torch.allclose(after, before, atol=0.1)
    # A state that the vector cancels has no direction to go to.
    opposite = OPERATORS["add_keep_norm"].fn(-vector.reshape(1, 1, -1), vector)
    assert torch.equal(opposite, -vector.reshape(1, 1, -1))
    half = OPERATORS["add_keep_norm"].fn(torch.full((1, 1, 4), 60.0, dtype=torch.half), torch.full((4,), 6e4))
    assert half.dtype == torch.half and torch.allclose(half, torch.tensor(60.0, dtype=torch.half), rtol=1e-3)


def test_project_add_leaves_exactly_the_vector_along_its_direction():
    vector = torch.linspace(-3, 4, WIDTH)
    before, after = values_with(Edit("project_add", vector))
    unit = vector / vector.norm()
    assert torch.allclose(after @ unit, vector.norm().expand(after.shape[:-1]), rtol=1e-4)
    across = torch.eye(WIDTH) - torch.outer(unit, unit)
    assert torch.allclose(after @ across, before @ across, atol=1e-5)
    twice = OPERATORS["project_add"].fn(after, vector)
    assert torch.allclose(twice, after, atol=1e-5)


def test_what_dampen_makes_of_factors():
    factors = torch.tensor([0.0, 0.5, 1.0])
    make = OPERATORS["dampen"].of_units
    assert make(factors, 1.0).tolist() == [0, 0.5, 1]
    assert make(factors, 0.0).tolist() == [1, 1, 1]
    assert make(factors, 0.5).tolist() == [0.5, 0.75, 1]
    for strength in (-0.1, 1.1):  # a unit of factor 0 would be turned around
        with pytest.raises(ArgumentError, match=f"strength={strength} of 'dampen' must be between 0 and 1"):
            make(factors, strength)


def test_affine_sets_adds_scales_and_zeroes_in_one_edit():
    units, scale, shift = (
        [3, 7, 9, 11],
        torch.tensor([0.0, 1.0, 0.5, 0.0]),
        torch.tensor([2.0, -1.0, 0.0, 0.0]),
    )
    before, after = values_with(Edit("affine", (scale, shift), units))
    assert torch.equal(after[..., 3], torch.full_like(after[..., 3], 2.0))
    assert torch.equal(after[..., 7], before[..., 7] - 1)
    assert torch.equal(after[..., 9], before[..., 9] / 2)
    assert torch.equal(after[..., 11], torch.zeros_like(after[..., 11]))
    rest = [unit for unit in range(WIDTH) if unit not in units]
    assert torch.equal(after[..., rest], before[..., rest])
    numbers = values_with(Edit("affine", (2.0, 1.0), [3]))
    assert torch.allclose(numbers[1][..., 3], 2 * before[..., 3] + 1)


@pytest.mark.parametrize("bias", [None, torch.arange(WIDTH) / 10])
def test_transform_maps_rows(bias):
    torch.manual_seed(1)
    matrix = torch.randn(WIDTH, WIDTH, dtype=torch.float64)
    before, after = values_with(Edit("transform", (matrix, bias)))
    expected = before.double() @ matrix + (0 if bias is None else bias.double())
    assert torch.allclose(after.double(), expected, atol=1e-4)  # of values up to 20, in float32
    half = values_with(Edit("transform", (matrix[:3, :3], None), [1, 4, 6]))
    assert torch.allclose(
        half[1][..., [1, 4, 6]].double(), before[..., [1, 4, 6]].double() @ matrix[:3, :3], atol=1e-4
    )


def test_transform_is_computed_in_float32_at_least():
    torch.manual_seed(1)
    values, matrix = torch.randn(2, 3, 64), torch.randn(64, 64) / 8
    kind, fn = OPERATORS["transform"].operand, OPERATORS["transform"].fn
    half = values.to(torch.bfloat16)
    new = fn(half, kind.prepare((matrix, None), half, SITE))
    assert new.dtype == torch.bfloat16
    assert torch.equal(new, (half.float() @ matrix).to(torch.bfloat16))
    double = fn(values.double(), kind.prepare((matrix, None), values.double(), SITE))
    assert torch.allclose(double, values.double() @ matrix.double(), atol=1e-12)


@pytest.mark.parametrize(
    ("operator", "value", "message"),
    [
        ("affine", 2.0, r"affine takes \(scale, shift\)"),
        ("affine", (1.0, None), r"affine takes \(scale, shift\)"),
        ("affine", (1.0, float("nan")), "must be finite"),
        ("affine", None, "needs a value"),
        ("transform", torch.eye(3), r"transform takes \(matrix"),
        ("transform", (torch.ones(3), None), r"transform takes \(matrix"),
        ("transform", (torch.eye(3), 1.0), r"transform takes \(matrix"),
        ("transform", (torch.eye(3) * float("inf"), None), "must be finite"),
    ],
)
def test_operands_of_affine_and_transform_that_fit_no_site(operator, value, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        Edit(operator, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("affine", (torch.ones(4), 0.0)), r"shape \(4,\); give one number, or one per unit \(32\)"),
        (Edit("transform", (torch.eye(4), None)), r"a matrix of shape \(4, 4\); give a matrix of \(32, 32\)"),
        (Edit("transform", (torch.eye(WIDTH), torch.ones(4))), r"a bias of shape \(4,\)"),
    ],
)
def test_operands_of_another_width(edit, message):
    with pytest.raises(ArgumentError, match=message), write(make_model("llama"), {SITE: edit}):
        pass


def test_a_transform_cannot_act_at_experts():
    from tests.mixtures import make_mixture

    site = Site("expert_inner", 1)
    width = 8 * 24
    edit = Edit("transform", (torch.eye(width), None))
    refused = pytest.raises(ArgumentError, match="'transform' cannot act at site 1.expert_inner")
    with refused, write(make_mixture(), {site: edit}):
        pass
