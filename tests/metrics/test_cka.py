"""Linear CKA: dense references, what leaves it as it is, the published biases, and the edges."""

import numpy as np
import pytest
import torch

from tests.metrics.structures import draw, rotation
from xalign.errors import ArgumentError
from xalign.metrics.cka import cka_per_pair, linear_cka


def hsic_by_quadruples(k, ell):
    """The unbiased HSIC as Gretton's mean over distinct pairs, triples and quadruples: no shared formula."""
    n = len(k)
    every = range(n)
    pairs = np.mean([k[i, j] * ell[i, j] for i in every for j in every if i != j])
    triples = np.mean(
        [k[i, j] * ell[i, q] for i in every for j in every for q in every if len({i, j, q}) == 3]
    )
    quadruples = np.mean(
        [
            k[i, j] * ell[q, r]
            for i in every
            for j in every
            for q in every
            for r in every
            if len({i, j, q, r}) == 4
        ]
    )
    return pairs + quadruples - 2 * triples


def cka_by_hand(pivot, other):
    k, ell = (states.double().numpy() @ states.double().numpy().T for states in (pivot, other))
    return hsic_by_quadruples(k, ell) / np.sqrt(hsic_by_quadruples(k, k) * hsic_by_quadruples(ell, ell))


@pytest.mark.parametrize("n", [4, 6, 8])
def test_the_debiased_one_is_exact(n):
    pivot, other = draw(n, 5, seed=n)
    assert linear_cka(pivot, other).item() == pytest.approx(cka_by_hand(pivot, other), abs=1e-10)


def test_the_biased_one_is_that_of_centred_kernels():
    pivot, other = draw(30, 7)
    centring = np.eye(30) - 1 / 30
    k, ell = (centring @ (s.double().numpy() @ s.double().numpy().T) @ centring for s in (pivot, other))
    expected = (k * ell).sum() / np.sqrt((k * k).sum() * (ell * ell).sum())
    assert linear_cka(pivot, other, debiased=False).item() == pytest.approx(expected, abs=1e-12)


def test_the_values_of_pairs_are_the_jackknife():
    pivot, other = draw(12, 6, seed=3)
    without = []
    for i in range(12):
        kept = [j for j in range(12) if j != i]
        without.append(linear_cka(pivot[kept], other[kept]).item())
    whole = linear_cka(pivot, other).item()
    values = cka_per_pair(pivot, other)
    assert np.allclose(values, whole + 11 * (np.mean(without) - np.array(without)), atol=1e-9)
    assert values.mean().item() == pytest.approx(whole, abs=1e-12)


def test_what_leaves_it_as_it_is():
    pivot, other = draw(40)
    whole = linear_cka(pivot, other).item()
    assert 0.05 < whole < 0.95
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    for one, two in (
        (other, pivot),
        (pivot[order], other[order]),
        (5 * pivot, other + 3),
        (pivot @ rotation(12, 1), other @ rotation(12, 2)),
    ):
        assert linear_cka(one, two).item() == pytest.approx(whole, abs=1e-6)
    assert linear_cka(pivot, pivot).item() == pytest.approx(1, abs=1e-12)
    assert linear_cka(pivot, other[order]).item() < whole / 2


@pytest.mark.parametrize(("width", "biased"), [(64, 0.390), (512, 0.835), (4096, 0.976)])
def test_the_bias_of_independent_states(width, biased):
    """Reference §10: .390, .835 and .976 of 100 sentences, within .01; d / (d + n)."""
    one, two = draw(100, width, seed=1)[0], draw(100, width, seed=2)[0]
    assert linear_cka(one, two, debiased=False).item() == pytest.approx(biased, abs=0.01)
    assert abs(linear_cka(one, two).item()) < 4 / np.sqrt(100 * 99 / 2)  # four standard errors of one draw


def test_the_debiased_one_is_about_0():
    """Reference §10: |mean| < .003 of independent states; 300 draws have a standard error of .0008."""
    drawn = [linear_cka(draw(100, 64, seed=s)[0], draw(100, 64, seed=s + 1000)[0]).item() for s in range(300)]
    assert abs(np.mean(drawn)) < 0.003


def test_the_edges(as_for_users):
    pivot, _ = draw(6)
    same = torch.full((6, 12), 0.1)
    assert linear_cka(pivot, same) == linear_cka(pivot, same, debiased=False) == 0
    assert cka_per_pair(pivot, same).tolist() == [0.0] * 6
    corners = torch.eye(6, 12) + 0.3  # all equally far apart: the debiased estimate is 0 / 0
    assert linear_cka(corners, pivot) == linear_cka(corners, corners) == 0
    assert linear_cka(pivot * 1e18, pivot * 1e18).item() == pytest.approx(1)
    assert linear_cka(pivot, pivot[:, :3]).isfinite()
    with pytest.raises(ArgumentError, match=r"there are 3 pair\(s\); at least 4 are needed"):
        linear_cka(pivot[:3], pivot[:3])
    with pytest.raises(ArgumentError, match="at least 5 are needed"):
        cka_per_pair(pivot[:4], pivot[:4])
    with pytest.raises(ArgumentError, match="the sides have 6 and 5 rows"):
        linear_cka(pivot, pivot[:5])


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_interval_is_about_right(noise):
    """The jackknife's standard error is near the spread of CKA over fresh sentences."""
    drawn = [linear_cka(*draw(60, 10, seed=s, noise=noise)).item() for s in range(150)]
    errors = [cka_per_pair(*draw(60, 10, seed=s, noise=noise)).std().item() / 60**0.5 for s in range(20)]
    assert 0.75 < np.mean(errors) / np.std(drawn) < 1.35
