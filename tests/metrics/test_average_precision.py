"""Average precision: against scikit-learn and the reference figures, with ties and in blocks."""

import pytest
import torch
from numpy.random import RandomState
from sklearn.metrics import average_precision_score

from xalign.errors import XAlignError
from xalign.metrics.average_precision import average_precision
from xalign.model.live_memory import LiveMemory

LABELS = torch.tensor([1, 1, 0, 1, 0, 0], dtype=torch.bool)


def test_the_reference_figures():
    """Of apple/ml-selfcond's own test: units in rows there."""
    state = RandomState(1234)
    first, second = (torch.from_numpy(state.rand(10, 6)).T for _ in range(2))
    expected = [0.7222222, 0.5555556, 1, 1, 1, 0.6333333, 0.9166667, 0.7, 0.8055556, 0.7222222]
    assert average_precision(first, LABELS).tolist() == pytest.approx(expected, abs=1e-7)
    expected = [0.7, 0.6666667, 0.7222222, 0.4111111, 0.7222222, 0.8333333, 0.7, 0.5333333, 0.6333333]
    assert average_precision(second, LABELS).tolist() == pytest.approx([*expected, 0.4666667], abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("levels", [None, 40, 3])
def test_equal_to_scikit_learn_with_ties(dtype, levels):
    torch.manual_seed(0)
    scores = torch.randn(200, 30, dtype=torch.float64)
    if levels is not None:
        scores = (scores * levels / 4).round()
    scores[:, 0], scores[:, 1], scores[:5, 2] = 0.0, torch.inf, -torch.inf
    scores = scores.to(dtype)
    positive = torch.rand(200) < 0.15
    expected = [
        average_precision_score(positive.numpy(), unit.double().clamp(-1e30, 1e30).numpy())
        for unit in scores.T
    ]
    found = average_precision(scores, positive)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_scores_that_differ_in_their_last_bit():
    torch.manual_seed(0)
    scores = torch.randn(300, 40)  # the first units have no equal scores: they are sorted with their marks
    near = torch.tensor([1.0]).view(torch.int32) + torch.arange(4, dtype=torch.int32)
    for unit, sign in ((20, 1.0), (21, -1.0)):
        scores[:, unit] = sign * near.view(torch.float32)[torch.randint(4, (300,))]
    scores[:150, 22] = 0.0
    scores[150:200, 22] = -0.0
    scores[:, 23] = torch.tensor([0.0, 1e-45, -1e-45])[torch.randint(3, (300,))]
    positive = torch.rand(300) < 0.4
    positive[:2] = torch.tensor([True, False])
    scores[:2, 24] = torch.tensor([0.0, -0.0])
    scores[:2, 25] = -near[:2].view(torch.float32)
    expected = [average_precision_score(positive.numpy(), unit.double().numpy()) for unit in scores.T]
    assert average_precision(scores, positive).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_constant_unit_gives_the_prevalence_and_a_perfect_one_1():
    positive = torch.arange(40) < 10
    scores = torch.stack([torch.zeros(40), positive.float(), -positive.float()], dim=1)
    assert average_precision(scores, positive).tolist() == [0.25, 1.0, 0.25]


@pytest.mark.parametrize("block_bytes", [1, 4000, 2**24])
def test_blocks_change_nothing(block_bytes):
    torch.manual_seed(1)
    scores, positive = torch.randn(100, 37), torch.rand(100) < 0.3
    whole = average_precision(scores, positive)
    assert torch.equal(average_precision(scores, positive, block_bytes=block_bytes), whole)
    assert scores.is_contiguous()


def test_memory_is_bounded_by_the_block():
    scores, positive = torch.randn(500, 4000), torch.rand(500) < 0.3
    peaks = []
    for block_bytes in (2**18, 2**23):
        with LiveMemory(torch.device("cpu")) as memory:
            average_precision(scores, positive, block_bytes=block_bytes)
        peaks.append(memory.peak)
    assert peaks[0] < 4 * 2**18
    assert peaks[1] > 4 * peaks[0]


def test_the_scores_are_left_alone():
    scores, positive = torch.randn(50, 3, dtype=torch.float32), torch.arange(50) < 20
    before = scores.clone()
    average_precision(scores.T.contiguous().T, positive)
    average_precision(scores, positive)
    assert torch.equal(scores, before)


SCORES, SOME = torch.randn(6, 2), LABELS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_precision(SCORES, torch.ones(6, dtype=torch.bool)), "6 of 6 examples are positive"),
        (lambda: average_precision(SCORES, torch.zeros(6, dtype=torch.bool)), "0 of 6 examples are positive"),
        (lambda: average_precision(SCORES, SOME.long()), "positive must be boolean, not torch.int64"),
        (lambda: average_precision(SCORES.long(), SOME), "scores must hold floating-point numbers"),
        (lambda: average_precision(SCORES.numpy(), SOME), "scores must be a tensor, not ndarray"),
        (lambda: average_precision(SCORES, SOME[:5]), r"they are \(6, 2\) and \(5,\)"),
        (lambda: average_precision(SCORES[:, 0], SOME), r"\(6,\) and \(6,\)"),
        (lambda: average_precision(SCORES, SOME, block_bytes=0), "block_bytes=0 must be at least 1"),
        (
            lambda: average_precision(
                SCORES.index_fill(0, torch.tensor([3]), torch.nan), SOME, block_bytes=1
            ),
            "the scores of unit 0 hold NaN",
        ),
    ],
)
@pytest.mark.usefixtures("as_for_users")
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()


@pytest.mark.parametrize("units", [1, 2])
def test_the_scores_are_left_as_they_are(units):
    scores = torch.tensor([[0.9], [0.1], [0.5]]).expand(3, units).contiguous()
    given = scores.clone()
    average_precision(scores, torch.tensor([True, False, True]))
    assert torch.equal(scores, given)
