"""Average neuron-wise correlation: numpy's correlations, leaving pairs out, its null, and the edges."""

import numpy as np
import pytest
import torch

from tests.metrics.structures import draw
from xalign.errors import ArgumentError
from xalign.metrics.neuron_correlation import neuron_correlation_chance, neuron_correlation_per_pair


def by_hand(pivot, other):
    p, o = pivot.double().numpy(), other.double().numpy()
    return np.mean([abs(np.corrcoef(p[:, d], o[:, d])[0, 1]) for d in range(p.shape[1])])


@pytest.mark.parametrize("n", [3, 8, 50])
def test_it_is_the_mean_absolute_correlation(n):
    pivot, other = draw(n, seed=n)
    assert neuron_correlation_per_pair(pivot, other).mean().item() == pytest.approx(
        by_hand(pivot, other), abs=1e-9
    )


def test_the_values_of_pairs_are_the_jackknife():
    pivot, other = draw(9, seed=2)
    kept = [[j for j in range(9) if j != i] for i in range(9)]
    without = np.array([by_hand(pivot[rows], other[rows]) for rows in kept])
    values = neuron_correlation_per_pair(pivot, other).numpy()
    assert np.allclose(values, by_hand(pivot, other) + 8 * (without.mean() - without), atol=1e-9)


def test_what_leaves_it_as_it_is():
    pivot, other = draw(30)
    whole = neuron_correlation_per_pair(pivot, other)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    units = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    signs = torch.where(torch.arange(12) % 2 == 0, 1.0, -2.0)
    assert torch.allclose(neuron_correlation_per_pair(pivot[order], other[order]), whole[order])
    for one, two in ((other, pivot), (pivot[:, units], other[:, units]), (pivot * signs, other * 3 + 1)):
        assert torch.allclose(neuron_correlation_per_pair(one, two), whole, atol=1e-5)


def test_the_null():
    """Reference §10: .0802 at 100 sentences, to four decimals; drawn, within .002."""
    assert neuron_correlation_chance(100) == pytest.approx(0.0802, abs=5e-5)
    drawn = neuron_correlation_per_pair(draw(100, 2000, seed=1)[0], draw(100, 2000, seed=2)[0])
    assert drawn.mean().item() == pytest.approx(0.0802, abs=0.004)


def test_the_edges():
    pivot, other = draw(6)
    half = other.clone()
    half[:, :6] = 0.1
    assert neuron_correlation_per_pair(pivot, half).mean().item() == pytest.approx(
        by_hand(pivot[:, 6:], other[:, 6:]) / 2
    )
    with pytest.raises(ArgumentError, match="at least 3"):
        neuron_correlation_per_pair(pivot[:2], other[:2])
