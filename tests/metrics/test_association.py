"""WEAT: an example by hand, a second implementation, what leaves it as it is, and the edges."""

from math import sqrt

import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.association import associations, effect_size


def normal(seed, *shape):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


X, Y, A, B = normal(0, 6, 5) + 0.4, normal(1, 6, 5), normal(2, 4, 5) + 0.4, normal(3, 3, 5)


def weat(x, y, a, b, ddof):
    """As Caliskan et al. write it, a word at a time."""

    def cosine(one, other):
        return float(np.dot(one, other) / np.sqrt(np.dot(one, one) * np.dot(other, other)))

    def s(w):
        return np.mean([cosine(w, one) for one in a]) - np.mean([cosine(w, one) for one in b])

    first, second = [s(w) for w in x], [s(w) for w in y]
    everything = np.array(first + second)
    variance = ((everything - everything.mean()) ** 2).sum() / (len(everything) - ddof)
    return (np.mean(first) - np.mean(second)) / np.sqrt(variance)


def effect(x, y, a, b, ddof=1):
    return effect_size(associations(x, a, b), associations(y, a, b), ddof=ddof)


def test_an_example_by_hand():
    """Targets at 0°, 45° and 90°, 45° from attributes at 0° and 90°: s = 1, 0 and −1, 0."""
    a, b, middle = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 1.0]])
    x, y = torch.cat([a, middle]), torch.cat([b, middle])
    assert associations(x, a, b).tolist() == pytest.approx([1, 0])
    assert associations(y, a, b).tolist() == pytest.approx([-1, 0])
    # means ½ and −½; squares 1 + 1 over 4, or over 3
    assert effect(x, y, a, b, ddof=0) == pytest.approx(1 / sqrt(2 / 4))
    assert effect(x, y, a, b) == pytest.approx(1 / sqrt(2 / 3))


@pytest.mark.parametrize("ddof", [0, 1])
def test_it_equals_a_second_implementation(ddof):
    expected = weat(*(values.numpy() for values in (X, Y, A, B)), ddof)
    assert effect(X, Y, A, B, ddof) == pytest.approx(expected, rel=1e-12)


def test_what_leaves_it_as_it_is_and_what_turns_it():
    found = effect(X, Y, A, B)
    assert abs(found) > 0.1
    turn = torch.linalg.qr(normal(4, 5, 5))[0]
    assert effect(X @ turn, Y @ turn, A @ turn, B @ turn) == pytest.approx(found, rel=1e-9)
    lengths = torch.tensor(np.random.RandomState(5).rand(6, 1) + 0.1)
    assert effect(lengths * X, Y, 3 * A, B) == pytest.approx(found, rel=1e-9)
    assert effect(X.flip(0), Y, A.flip(0), B) == pytest.approx(found, rel=1e-9)
    assert effect(Y, X, A, B) == pytest.approx(-found, rel=1e-9)
    assert effect(X, Y, B, A) == pytest.approx(-found, rel=1e-9)


def test_the_largest_effect():
    x, y = torch.ones(8).double(), -torch.ones(8).double()
    assert effect_size(x, y, ddof=0) == pytest.approx(2)
    assert effect_size(x, y) == pytest.approx(2 * sqrt(15 / 16))


def test_what_is_refused(as_for_users):
    with pytest.raises(ArgumentError, match="a has a vector of zeros"):
        associations(X, torch.zeros(2, 5), B)
    with pytest.raises(ArgumentError, match="targets is empty, or holds NaN"):
        associations(X[:0], A, B)
    with pytest.raises(ArgumentError, match="b is empty, or holds NaN"):
        associations(X, A, B * torch.nan)
    with pytest.raises(ArgumentError, match="all targets have the same association"):
        effect_size(torch.ones(3), torch.ones(3))
    with pytest.raises(ArgumentError, match="x has 0 targets and y has 3"):
        effect_size(torch.ones(0), torch.ones(3))
    with pytest.raises(ArgumentError, match="ddof=2 must be 0 or 1"):
        effect_size(torch.ones(3), torch.zeros(3), ddof=2)
