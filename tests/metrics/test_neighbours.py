"""CSLS, margin retrieval and hubness: brute force, what leaves them as they are, and the edges."""

import numpy as np
import pytest
import torch
from scipy.stats import skew

from tests.metrics.structures import draw
from xalign.errors import ArgumentError
from xalign.metrics import METRICS
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.csls import csls, csls_from_pivot, csls_to_pivot
from xalign.metrics.hubness import (
    anti_hub_chance,
    anti_hubs,
    hub_skewness,
    occurrences,
    robin_hood,
    robin_hood_chance,
    skewness_chance,
)
from xalign.metrics.xsim import margin_retrieval, xsim_from_pivot, xsim_to_pivot

BITS = [csls_from_pivot, csls_to_pivot, xsim_from_pivot, xsim_to_pivot]


def matrix(n=40, seed=0, noise=2.0):
    return cosine_matrix(*draw(n, 8, seed=seed, noise=noise))


def mean_of_largest(values, k):
    return np.mean(sorted(values, reverse=True)[:k])


@pytest.mark.parametrize("k", [1, 3, 10])
def test_csls_by_hand(k):
    c = matrix().numpy()
    found = csls(torch.tensor(c), k).numpy()
    for i in range(40):
        for j in range(40):
            expected = 2 * c[i, j] - mean_of_largest(c[i], k) - mean_of_largest(c[:, j], k)
            assert found[i, j] == pytest.approx(expected, abs=1e-11)
    if k == 10:
        assert csls_from_pivot(torch.tensor(c)).tolist() == (found.argmax(1) == np.arange(40)).tolist()
        assert csls_to_pivot(torch.tensor(c)).tolist() == (found.argmax(0) == np.arange(40)).tolist()


def test_csls_demotes_a_hub():
    """A sentence near to all pivots wins by cosine, and loses by CSLS."""
    c = torch.eye(12, dtype=torch.float64) * 0.8
    c[:, 0] = 0.9
    assert (c.argmax(dim=1) == 0).all()
    assert csls_from_pivot(c).sum() == 12


def xsim_by_hand(c, k, margin):
    bits = []
    for i in range(len(c)):
        near = sorted(range(len(c)), key=lambda j: (-c[i, j], j))[:k]
        of_i, scores = mean_of_largest(c[i], k), []
        for j in near:
            mean = (of_i + mean_of_largest(c[:, j], k)) / 2
            scores.append({"ratio": c[i, j] / mean, "distance": c[i, j] - mean, "absolute": c[i, j]}[margin])
        bits.append(near[int(np.argmax(scores))] == i)
    return bits


@pytest.mark.parametrize("margin", ["ratio", "distance", "absolute"])
@pytest.mark.parametrize("k", [1, 4, 7])
def test_margin_retrieval_by_hand(k, margin):
    for seed in range(3):
        c = matrix(seed=seed)
        found = margin_retrieval(c, k=k, margin=margin).tolist()
        assert found == xsim_by_hand(c.numpy(), k, margin)
        assert 0 < sum(found) < 40
    assert xsim_from_pivot(c).tolist() == xsim_by_hand(c.numpy(), 4, "ratio")
    assert xsim_to_pivot(c).tolist() == xsim_by_hand(c.numpy().T, 4, "ratio")


@pytest.mark.parametrize("metric", BITS)
def test_what_leaves_the_bits_as_they_are(metric):
    pivot, other = draw(40, 8, noise=1.5)
    bits = metric(cosine_matrix(pivot, other))
    assert 0 < bits.sum() < 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(metric(cosine_matrix(pivot[order], other[order])), bits[order])
    assert torch.equal(metric(cosine_matrix(3 * pivot, other)), bits)
    assert metric(cosine_matrix(pivot, pivot)).all()


@pytest.mark.parametrize("metric", BITS)
def test_chance_of_the_bits(metric):
    generator = torch.Generator().manual_seed(0)
    found = [metric(torch.rand(20, 20, generator=generator)).double().mean().item() for _ in range(400)]
    assert np.mean(found) == pytest.approx(METRICS["csls"].chance(20), abs=4 * np.std(found) / 20)


@pytest.mark.parametrize("metric", BITS)
def test_the_edges_of_the_bits(metric):
    c = cosine_matrix(*draw(12, 8, noise=0.01))
    assert metric(c).all()
    c[3], c[:, 5] = torch.nan, torch.nan
    assert metric(c).nonzero()[:, 0].tolist() == [i for i in range(12) if i not in (3, 5)]
    nothing = metric(torch.zeros(12, 12, dtype=torch.float64))
    assert nothing.sum() <= 1  # all tie: the first at most
    with pytest.raises(ArgumentError, match="nearest neighbours are asked for, and there are 3"):
        metric(c[:3, :3])


def test_another_margin_is_refused(as_for_users):
    with pytest.raises(ArgumentError, match="margin='sum' must be 'ratio', 'distance' or 'absolute'"):
        margin_retrieval(matrix(), margin="sum")


def test_hubness_by_hand():
    c = matrix(seed=4)
    counts = np.zeros(40)
    for row in c.numpy():
        for j in np.argsort(-row)[:10]:
            counts[j] += 1
    assert occurrences(c).tolist() == counts.tolist() and counts.sum() == 400
    assert hub_skewness(c).mean().item() == pytest.approx(skew(counts), abs=1e-9)
    assert anti_hubs(c).double().mean().item() == np.mean(counts == 0)
    expected = np.abs(counts - counts.mean()).sum() / (2 * counts.sum())
    assert robin_hood(c).mean().item() == pytest.approx(expected)


def test_hubness_of_neighbours_at_random():
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.rand(60, 60, generator=generator) for _ in range(150)]
    for metric, chance, near in (
        (hub_skewness, skewness_chance, 0.05),
        (anti_hubs, anti_hub_chance, 0.001),
        (robin_hood, robin_hood_chance, 0.002),
    ):
        assert np.mean([metric(c).double().mean() for c in drawn]) == pytest.approx(chance(60), abs=near)
    assert skewness_chance(10) == 0 and anti_hub_chance(10) == 0


def test_hubness_does_not_change_with_order_and_scale():
    pivot, other = draw(30, 8)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    for metric in (hub_skewness, anti_hubs, robin_hood):
        values = metric(cosine_matrix(pivot, other)).double()
        assert torch.allclose(metric(cosine_matrix(2 * pivot[order], other[order])).double(), values[order])


def test_the_edges_of_hubness():
    c = matrix(12)
    hub = c.clone()
    hub[:, 0] = 2
    assert occurrences(hub)[0] == 12
    assert hub_skewness(torch.eye(10)).tolist() == [0.0] * 10  # all are near to all
    c[2] = torch.nan
    assert occurrences(c).isnan().all()
