"""Weak alignment, retrieval, margin: independent references, invariances, edges."""

import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.margin import margin
from xalign.metrics.retrieval import retrieval_chance, retrieval_from_pivot, retrieval_to_pivot
from xalign.metrics.weak_alignment import weak_alignment, weak_alignment_chance

METRICS = [weak_alignment, retrieval_from_pivot, retrieval_to_pivot, margin]
HANDMADE = torch.tensor([[0.9, 0.9, 0.1], [0.2, 0.8, 0.3], [0.1, 0.2, 0.7]])


def draw(n, width=20, seed=0, noise=1.0):
    generator = torch.Generator().manual_seed(seed)
    pivot = torch.randn(n, width, generator=generator)
    return pivot, pivot + noise * torch.randn(n, width, generator=generator)


def test_the_handmade_matrix():
    """Reference §0.4, check 1: row 0 loses by the tie, row 1 by its column."""
    assert weak_alignment(HANDMADE).tolist() == [False, False, True]
    assert retrieval_from_pivot(HANDMADE).double().mean() == 1.0
    assert retrieval_to_pivot(HANDMADE).double().mean() == pytest.approx(2 / 3)
    assert margin(HANDMADE).tolist() == pytest.approx([0.0, -0.1, 0.4])


@pytest.mark.parametrize("n", [2, 3, 17, 60])
def test_against_numpy(n):
    pivot, other = draw(n, seed=n)
    c = cosine_matrix(pivot, other)
    p, o = pivot.double().numpy(), other.double().numpy()
    for i in range(n):
        for j in range(n):
            expected = p[i] @ o[j] / np.sqrt((p[i] @ p[i]) * (o[j] @ o[j]))
            assert c[i, j].item() == pytest.approx(expected, abs=1e-11)
    c = c.numpy()
    for i in range(n):
        rivals = [max(c[i, j], c[j, i]) for j in range(n) if j != i]
        assert weak_alignment(torch.tensor(c))[i].item() == (c[i, i] > max(rivals))
        assert margin(torch.tensor(c))[i].item() == pytest.approx(c[i, i] - max(rivals), abs=1e-12)
        assert retrieval_from_pivot(torch.tensor(c))[i].item() == (np.argmax(c[i]) == i)
        assert retrieval_to_pivot(torch.tensor(c))[i].item() == (np.argmax(c[:, i]) == i)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_invariances(metric, seed):
    n = 40
    pivot, other = draw(n, seed=seed)
    values = metric(cosine_matrix(pivot, other)).double()
    assert values.unique().numel() > 1  # neither all 0 nor all 1
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(metric(cosine_matrix(pivot[order], other[order])).double(), values[order])
    neurons = torch.randperm(pivot.shape[1], generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(metric(cosine_matrix(pivot[:, neurons], other[:, neurons])).double(), values)
    scales = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed)) + 0.1
    assert torch.allclose(metric(cosine_matrix(pivot * scales, other * 7)).double(), values, atol=1e-6)
    swapped = {retrieval_from_pivot: retrieval_to_pivot, retrieval_to_pivot: retrieval_from_pivot}.get(
        metric, metric
    )
    assert torch.allclose(swapped(cosine_matrix(other, pivot)).double(), values)


@pytest.mark.parametrize("n", [3, 7, 50, 100, 101])
@pytest.mark.parametrize("width", [5, 33, 1536])
def test_equal_vectors_tie_whatever_the_matrix_product_does(n, width):
    """A blocked product gives equal columns cosines that differ in the last bit: then chance decides."""
    pivot, other = draw(n, width, seed=n)
    other[:] = other[0].clone()
    c = cosine_matrix(pivot, other)
    assert (c == c[:, :1]).all()
    assert not weak_alignment(c).any()
    assert retrieval_from_pivot(c).tolist() == [True] + [False] * (n - 1)  # the first of equal ones


def test_identical_sides_align():
    pivot, _ = draw(30)
    c = cosine_matrix(pivot, pivot)
    for metric in METRICS[:3]:
        assert metric(c).all()
    assert (margin(c) > 0).all()
    assert torch.equal(margin(c) > 0, weak_alignment(c))


def test_a_zero_vector_wins_nothing():
    pivot, other = draw(10, noise=0.01)
    pivot[3] = 0
    c = cosine_matrix(pivot, other)
    assert not weak_alignment(c)[3]
    assert not retrieval_from_pivot(c)[3]
    assert not retrieval_to_pivot(c)[3]


@pytest.mark.parametrize("metric", METRICS)
def test_one_pair_is_refused(metric):
    with pytest.raises(ArgumentError, match=r"similarity has 1 pair\(s\)"):
        metric(torch.ones(1, 1))


def test_chance():
    """1/(2n − 1): published 0.005025 at n = 100; simulated here at n = 10."""
    assert weak_alignment_chance(100) == pytest.approx(0.005025, abs=1e-6)
    assert retrieval_chance(100) == 0.01
    generator = torch.Generator().manual_seed(0)
    scores = [
        weak_alignment(torch.rand(10, 10, generator=generator)).double().mean().item() for _ in range(4000)
    ]
    standard_error = np.std(scores) / len(scores) ** 0.5
    assert abs(np.mean(scores) - weak_alignment_chance(10)) < 4 * standard_error
    found = [
        retrieval_from_pivot(torch.rand(10, 10, generator=generator)).double().mean().item()
        for _ in range(2000)
    ]
    assert np.mean(found) == pytest.approx(0.1, abs=0.01)
