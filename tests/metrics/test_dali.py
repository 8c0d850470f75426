"""DALI: brute force over all cosines, the authors' way of writing it, chance, invariances and edges."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.dali import dali, dali_chance, dali_null, dali_strong, dali_strong_null


def draw(items, options, width=6, noise=0.7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pivot = torch.randn(items, options, width, generator=generator)
    return pivot, pivot + noise * torch.randn(items, options, width, generator=generator)


def cosine(one, other):
    one, other = one.double().numpy(), other.double().numpy()
    return one @ other / math.sqrt((one @ one) * (other @ other))


def by_hand(pivot, other, strong):
    bits = []
    for p, o in zip(pivot, other, strict=True):
        every = range(len(p))
        rivals = [cosine(p[k], o[m]) for k in every for m in every if k != m]
        if strong:
            rivals += [cosine(side[k], side[m]) for side in (p, o) for k in every for m in range(k)]
        bits.append(all(cosine(p[k], o[k]) > rival for k in every for rival in rivals))
    return bits


@pytest.mark.parametrize("options", [2, 3, 4])
@pytest.mark.parametrize("strong", [False, True])
def test_by_hand(options, strong):
    pivot, other = draw(60, options, seed=options)
    found = (dali_strong if strong else dali)(pivot, other).tolist()
    assert found == by_hand(pivot, other, strong)
    assert 0 < sum(found) < 60


def test_two_options_are_the_authors_four_inequalities():
    pivot, other = draw(80, 2)
    expected = []
    for (p1, p2), (o1, o2) in zip(pivot, other, strict=True):
        a, b, x, y = cosine(p1, o1), cosine(p2, o2), cosine(p1, o2), cosine(p2, o1)
        expected.append(a > x and a > y and b > x and b > y)
    assert dali(pivot, other).tolist() == expected


@pytest.mark.parametrize("options", [2, 4])
def test_strong_implies_plain(options):
    plain, strong = (metric(*draw(400, options, noise=0.9)) for metric in (dali, dali_strong))
    assert not (strong & ~plain).any() and strong.sum() < plain.sum()


def test_chance():
    """Reference §3.5: 1/6 of two options and 4! 12! / 16! = 5.5e-4 of four; counted, and drawn."""
    assert dali_chance(2) == pytest.approx(1 / 6)
    assert dali_chance(4) == pytest.approx(5.5e-4, abs=5e-6)
    assert dali_chance(4) == pytest.approx(math.factorial(4) * math.factorial(12) / math.factorial(16))
    orders = list(permutations(range(4)))
    assert np.mean([min(o[:2]) > max(o[2:]) for o in orders]) == pytest.approx(dali_chance(2))
    orders = list(permutations(range(6)))
    assert np.mean([min(o[:2]) > max(o[2:]) for o in orders]) == pytest.approx(dali_chance(2, strong=True))
    pivot, other = draw(4000, 2, 64)[0], draw(4000, 2, 64, seed=1)[0]
    assert dali(pivot, other).double().mean() == pytest.approx(1 / 6, abs=0.03)
    assert dali_strong(pivot, other).double().mean() == pytest.approx(1 / 15, abs=0.03)
    assert dali_null(pivot, other).unique().tolist() == [dali_chance(2)]
    assert dali_strong_null(pivot, other).unique().tolist() == [dali_chance(2, strong=True)]


@pytest.mark.parametrize("metric", [dali, dali_strong])
def test_what_leaves_the_bits_as_they_are(metric):
    pivot, other = draw(100, 3)
    bits = metric(pivot, other)
    assert 0 < bits.sum() < 100
    assert torch.equal(metric(other, pivot), bits)
    assert torch.equal(metric(pivot[:, [2, 0, 1]], other[:, [2, 0, 1]]), bits)
    assert torch.equal(metric(3 * pivot, other), bits)
    assert torch.equal(metric(pivot.flip(0), other.flip(0)), bits.flip(0))
    assert metric(pivot, other[:, [1, 0, 2]]).sum() < bits.sum()


@pytest.mark.parametrize("metric", [dali, dali_strong])
def test_the_edges(metric, as_for_users):
    pivot, _ = draw(4, 2)
    assert metric(pivot, pivot).all()
    same = pivot[:, :1].expand(-1, 2, -1).clone()
    assert not metric(same, same).any()  # all tie, as embeddings of one last token do
    pivot[1, 0] = 0
    assert metric(pivot, pivot).tolist() == [True, False, True, True]
    with pytest.raises(ArgumentError, match=r"items have 1 option\(s\)"):
        metric(pivot[:, :1], pivot[:, :1])
