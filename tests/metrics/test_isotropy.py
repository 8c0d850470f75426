"""Isotropy: brute force over principal axes, what leaves it as it is, and the edges."""

import numpy as np
import pytest
import torch

from tests.metrics.structures import draw, rotation
from xalign.errors import ArgumentError
from xalign.metrics.isotropy import anisotropy, iso_score, iso_score_per_pair


def iso_score_by_hand(states):
    """The published steps: PCA, variances of length √d, δ, φ."""
    variances = np.linalg.eigvalsh(np.cov(states.double().numpy(), rowvar=False))
    d = len(variances)
    normalised = np.sqrt(d) * variances / np.linalg.norm(variances)
    delta = np.linalg.norm(normalised - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    phi = (d - delta**2 * (d - np.sqrt(d))) ** 2 / d**2
    return (d * phi - 1) / (d - 1)


@pytest.mark.parametrize("n", [5, 12, 60])
def test_iso_score_is_the_published_one(n):
    states, _ = draw(n, 8, seed=n)
    states = states * torch.arange(1, 9)
    assert iso_score(states).item() == pytest.approx(iso_score_by_hand(states), abs=1e-9)
    values = iso_score_per_pair(states, states).numpy()
    without = np.array([iso_score_by_hand(states[[j for j in range(n) if j != i]]) for i in range(n)])
    assert np.allclose(values, iso_score_by_hand(states) + (n - 1) * (without.mean() - without), atol=1e-8)


def test_anisotropy_by_hand():
    pivot, other = draw(9, 5)
    unit = other.double().numpy() / np.linalg.norm(other.double().numpy(), axis=1, keepdims=True)
    for i in range(9):
        expected = np.mean([unit[i] @ unit[j] for j in range(9) if j != i])
        assert anisotropy(pivot, other)[i].item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("metric", [anisotropy, iso_score_per_pair])
def test_what_leaves_them_as_they_are(metric):
    pivot, other = draw(30)
    values = metric(pivot, other)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(metric(pivot[order], other[order]), values[order])
    assert torch.allclose(metric(pivot + 1, 3 * other @ rotation(12)), values, atol=1e-4)


def test_from_a_line_to_a_ball():
    line = torch.arange(20.0)[:, None] * torch.ones(1, 4)
    assert iso_score(line).item() == pytest.approx(0, abs=1e-12)
    ball, _ = draw(5000, 4)
    assert iso_score(ball).item() > 0.99
    assert anisotropy(ball[:500], ball[:500]).mean().abs() < 0.01
    assert anisotropy(ball[:50], ball[:50] + 100).mean() > 0.99


def test_the_edges():
    same = torch.full((5, 3), 0.1)
    assert iso_score(same) == 0 and iso_score_per_pair(same, same).tolist() == [0.0] * 5
    assert anisotropy(same, same).tolist() == [1.0] * 5
    with pytest.raises(ArgumentError, match="states of width 1"):
        iso_score(torch.ones(4, 1))
    with pytest.raises(ArgumentError, match="at least 3"):
        iso_score_per_pair(same[:2], same[:2])
