"""What a metric's function gives is checked: it may be a user's own. It cannot spoil what others read."""

import math

import numpy as np
import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics import METRICS
from xalign.metrics.compute import compute_values
from xalign.metrics.metric import Metric, resolve_metrics
from xalign.metrics.scale import Scale

PAIRS = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=8)
ANY, SHARE = Scale("Toy"), Scale("Toy", bounds=(0.0, 1.0))


def spoils(similarity):
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-2.0)
    return own - similarity.amax(dim=1)


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize("options", [{}, {"has_floor": False}])
def test_a_function_that_changes_what_it_is_given(options):
    metric = Metric("spoils", "Spoils", "hidden", spoils, bounds=None, **options)
    with pytest.raises(ArgumentError, match=r"'spoils' changes what it is given.*\.clone\(\)"):
        measure(make_model("llama"), make_tokenizer(), PAIRS, [metric, "mexa"])


@pytest.mark.usefixtures("as_for_users")
def test_states_are_shared_too():
    def centres(pivot, other):
        pivot -= pivot.mean(dim=0)
        return (pivot - other).norm(dim=1)

    metric = Metric("centres", "Centres", "hidden", centres, over="states", bounds=None, has_floor=False)
    with pytest.raises(ArgumentError, match="changes what it is given"):
        measure(make_model("llama"), make_tokenizer(), PAIRS, [metric])


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(
    ("values", "scale", "message"),
    [
        (np.zeros(8), ANY, "must give a tensor of one value per pair, not ndarray"),
        (torch.zeros(8, 1), ANY, r"one real value per pair \(8\), not torch.float32 of shape \(8, 1\)"),
        (torch.zeros(8, dtype=torch.complex64), ANY, "not torch.complex64"),
        (torch.full((8,), 3.08), SHARE, r"'toy' gave 3.08, outside its bounds \(0.0, 1.0\); pass the true"),
    ],
)
def test_values_that_are_refused(values, scale, message):
    with pytest.raises(ArgumentError, match=message):
        compute_values("toy", lambda similarity: values, [torch.eye(8)], scale, 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.float64, torch.bool])
def test_values_become_what_a_report_holds(dtype):
    found = compute_values("toy", lambda similarity: torch.ones(8).to(dtype), [torch.eye(8)], SHARE, 8)
    assert found.dtype == (dtype if dtype in (torch.bool, torch.float64) else torch.float64)
    assert found.tolist() == [1] * 8


def test_values_have_no_gradient():
    layer = torch.nn.Linear(8, 1)
    found = compute_values("toy", lambda states: layer(states).squeeze(1), [torch.eye(8)], ANY, 8)
    assert not found.requires_grad


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bounds": (0, math.inf)}, ArgumentError, "bounds=.*both finite"),
        ({"bounds": ("a", "b")}, ArgumentError, "bounds=.*both finite"),
        ({"bounds": 5}, ArgumentError, "bounds=5 must be"),
        ({"chance": 0.5}, ArgumentTypeError, "chance=0.5 must be a function of the number of pairs"),
        ({"title": None}, ArgumentTypeError, "title=None must be text"),
        ({"unit": None}, ArgumentTypeError, "unit=None must be text"),
        ({"higher_is_better": "no"}, ArgumentTypeError, "higher_is_better='no' must be True or False"),
    ],
)
def test_what_a_report_could_not_hold(options, error, message):
    with pytest.raises(error, match=message):
        Metric(**{"name": "toy", "title": "Toy", "reads": "hidden", "compute": torch.diag} | options)


def test_chance_is_a_plain_number():
    metric = Metric("toy", "Toy", "hidden", torch.diag, chance=lambda n: np.float32(1 / n))
    assert type(metric.chance_of(4)) is float
    with pytest.raises(ArgumentError, match="chance of metric 'toy' gives inf for 4 pairs"):
        Metric("toy", "Toy", "hidden", torch.diag, chance=lambda n: math.inf).chance_of(4)


@pytest.mark.usefixtures("as_for_users")
def test_a_floor_that_is_not_finite():
    def ratio(similarity):
        return similarity.diagonal() / (similarity.sum(dim=1) - similarity.diagonal())

    pairs = load_pairs("bundled", ["zho_Hans"], n=6)
    metric = Metric("ratio", "Ratio", "hidden", ratio, bounds=None)
    with pytest.raises(
        ArgumentError, match="'ratio' has no finite lexical floor for zho_Hans: pass has_floor"
    ):
        measure(make_model("llama"), make_tokenizer(), pairs, [metric], pool_special_tokens=False)


def test_names_that_are_taken():
    def nasca_worst(similarity):
        return similarity.diagonal()

    with pytest.raises(
        ArgumentError, match="the key 'nasca_worst' is taken already: the worst language of 'nasca'"
    ):
        resolve_metrics(["nasca", nasca_worst], METRICS)
    one = Metric("a", "A", "hidden", parts={"x": torch.diag}, bounds=None)
    two = Metric("b", "B", "hidden", parts={"a": torch.diag}, bounds=None)
    with pytest.raises(ArgumentError, match="names a metric twice"):
        resolve_metrics([one, two], METRICS)
