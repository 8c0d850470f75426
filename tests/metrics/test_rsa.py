"""RSA: scipy's Spearman, leaving sentences out, what leaves it as it is, and the edges."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata, spearmanr

from tests.metrics.structures import draw, rotation
from xalign.errors import ArgumentError
from xalign.metrics.rsa import rsa_per_pair


@pytest.mark.parametrize("n", [4, 9, 40])
def test_it_is_spearmans_correlation_of_the_distances(n):
    pivot, other = draw(n, seed=n)
    expected = spearmanr(pdist(pivot.double().numpy(), "cosine"), pdist(other.double().numpy(), "cosine"))
    assert rsa_per_pair(pivot, other).mean().item() == pytest.approx(expected.statistic, abs=1e-9)


def test_the_values_are_those_of_leaving_a_sentence_out():
    pivot, other = draw(10, seed=5)
    one, two = (squareform(rankdata(pdist(side.double().numpy(), "cosine"))) for side in (pivot, other))
    above = np.triu_indices(9, 1)
    without = []
    for i in range(10):
        kept = np.ix_([j for j in range(10) if j != i], [j for j in range(10) if j != i])
        without.append(np.corrcoef(one[kept][above], two[kept][above])[0, 1])
    values = rsa_per_pair(pivot, other).numpy()
    assert np.allclose(values - values.mean(), 9 * (np.mean(without) - np.array(without)), atol=1e-9)


def test_what_leaves_it_as_it_is():
    pivot, other = draw(30)
    whole = rsa_per_pair(pivot, other)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(rsa_per_pair(pivot[order], other[order]), whole[order], atol=1e-9)
    assert torch.allclose(rsa_per_pair(other, pivot), whole, atol=1e-9)
    turned = rsa_per_pair(pivot @ rotation(12, 1), 3 * other @ rotation(12, 2))
    assert turned.mean().item() == pytest.approx(whole.mean().item(), abs=1e-4)
    assert rsa_per_pair(pivot, pivot).mean().item() == pytest.approx(1)
    mispaired = [
        rsa_per_pair(pivot, other[torch.randperm(30, generator=torch.Generator().manual_seed(s))]).mean()
        for s in range(100)
    ]
    assert abs(np.mean(mispaired)) < 0.05 < whole.mean() / 2


def test_the_edges():
    pivot, _ = draw(5)
    assert rsa_per_pair(pivot, torch.ones(5, 2)).tolist() == [0.0] * 5
    pivot[2] = 0
    assert rsa_per_pair(pivot, pivot).isnan().all()
    with pytest.raises(ArgumentError, match="at least 4"):
        rsa_per_pair(pivot[:3], pivot[:3])
