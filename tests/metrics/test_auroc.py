"""AUROC: the published numbers, scikit-learn, and what must not change it."""

import pytest
import torch
from numpy.random import RandomState
from sklearn.metrics import roc_auc_score

from xalign.errors import ArgumentError, XAlignError
from xalign.finding.aura import factors_of
from xalign.metrics.auroc import auroc

# ml-selfcond's test data, of which ml-aura's AUROC was computed.
SCORES = torch.from_numpy(RandomState(1234).rand(10, 6)).T
POSITIVE = torch.tensor([True, True, False, True, False, False])
AUROC = [0.555556, 0.444444, 1, 1, 1, 0.333333, 0.888889, 0.555556, 0.777778, 0.555556]
ALPHA = [0.888889, 1, 0, 0, 0, 1, 0.222222, 0.888889, 0.444444, 0.888889]


def test_the_published_numbers():
    """Six decimals are printed, so 1e-6."""
    found = auroc(SCORES, POSITIVE)
    assert (found - torch.tensor(AUROC, dtype=torch.float64)).abs().max() < 1e-6
    assert (factors_of(found) - torch.tensor(ALPHA, dtype=torch.float64)).abs().max() < 1e-6


@pytest.mark.parametrize("block_bytes", [1, 2**24])
@pytest.mark.parametrize("ties", [False, True])
def test_it_is_that_of_scikit_learn(block_bytes, ties):
    random = RandomState(3)
    scores = random.randint(0, 4, (37, 20)) * 1.0 if ties else random.randn(37, 20)
    positive = random.rand(37) < 0.3
    found = auroc(torch.from_numpy(scores), torch.from_numpy(positive), block_bytes=block_bytes)
    expected = [roc_auc_score(positive, scores[:, unit]) for unit in range(20)]
    assert (found - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-12


def test_what_does_not_change_it():
    found = auroc(SCORES, POSITIVE)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    assert torch.equal(auroc(SCORES[order], POSITIVE[order]), found)
    assert torch.equal(auroc(SCORES.exp(), POSITIVE), found)
    assert torch.allclose(auroc(-SCORES, POSITIVE), 1 - found, atol=1e-15)
    assert torch.allclose(auroc(SCORES, ~POSITIVE), 1 - found, atol=1e-15)
    repeated = torch.cat([SCORES, SCORES[~POSITIVE]]), torch.cat([POSITIVE, torch.zeros(3, dtype=torch.bool)])
    assert torch.allclose(auroc(*repeated), found, atol=1e-15)  # unlike average precision


def test_edges():
    assert auroc(torch.ones(2, 3), torch.tensor([True, False])).tolist() == [0.5] * 3
    assert auroc(torch.tensor([[2.0], [1.0]]), torch.tensor([True, False])).item() == 1
    half = auroc(SCORES.half(), POSITIVE)
    assert half.dtype == torch.float64


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        (SCORES, torch.ones(6, dtype=torch.bool), "6 of 6 examples are positive; AUROC takes some"),
        (SCORES, torch.ones(6), "positive must be boolean"),
        (SCORES.long(), POSITIVE, "scores must hold floating-point numbers"),
        (SCORES[:5], POSITIVE, r"scores must be \[example, unit\]"),
        (SCORES.clone().index_fill_(1, torch.tensor(4), float("nan")), POSITIVE, "scores of unit 4 hold NaN"),
    ],
)
def test_bad_input(scores, positive, message, as_for_users):
    with pytest.raises(XAlignError, match=message):
        auroc(scores, positive)


def test_the_bar_of_k_experts():
    """ml-aura's test on tiny-gpt2: two units of AUROC ½ and two of 1."""
    area = torch.tensor([0.5, 0.5, 1.0, 1.0], dtype=torch.float64)
    assert factors_of(area).tolist() == [1, 1, 0, 0]
    assert factors_of(area, variant="det0", k=3).tolist() == [1, 1, 0, 0]  # the tie at ½ is not above it
    assert factors_of(area, variant="damp", k=3, factor=0.5).tolist() == [1, 1, 0.5, 0.5]
    assert factors_of(area, variant="det0", k=1).tolist() == [1, 1, 1, 1]  # both tie with the second
    assert factors_of(area, variant="det0").tolist() == [1, 1, 0, 0]
    below = torch.tensor([0.2, 0.3, 0.4], dtype=torch.float64)
    assert factors_of(below, variant="det0", k=1).tolist() == [1, 1, 0]  # as the code does it
    assert factors_of(below, k=1).tolist() == [1, 1, 1]  # but no unit is raised
    with pytest.raises(ArgumentError, match="k=4 must be below the number of units, 4"):
        factors_of(area, k=4)
