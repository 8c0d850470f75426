"""The distance of two clouds of states: a second implementation, what leaves it as it is, and the edges."""

import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.metrics.subspace_distance import subspace_distance


def normal(seed, *shape):
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


ONE, OTHER = normal(1, 30, 4), normal(2, 25, 4) @ normal(3, 4, 4) + 1


def by_brute_force(one, other):
    """From the eigenvalues of the quotient of the covariances, without a generalised solver."""
    covariances = [np.cov(values.numpy(), rowvar=False) for values in (one, other)]
    eigenvalues = np.linalg.eigvals(np.linalg.inv(covariances[1]) @ covariances[0]).real
    apart = np.linalg.norm(one.numpy().mean(axis=0) - other.numpy().mean(axis=0))
    return np.sqrt((np.log(eigenvalues) ** 2).sum()) + apart


def test_it_equals_a_second_implementation():
    assert subspace_distance(ONE, OTHER) == pytest.approx(by_brute_force(ONE, OTHER), rel=1e-9)


def test_what_leaves_it_as_it_is():
    distance = subspace_distance(ONE, OTHER)
    assert subspace_distance(OTHER, ONE) == pytest.approx(distance, rel=1e-9)
    turn = torch.linalg.qr(normal(4, 4, 4))[0]
    assert subspace_distance(ONE @ turn, OTHER @ turn) == pytest.approx(distance, rel=1e-9)
    assert subspace_distance(ONE + 3, OTHER + 3) == pytest.approx(distance, rel=1e-9)
    assert subspace_distance(ONE.flip(0), OTHER) == pytest.approx(distance, rel=1e-9)
    assert subspace_distance(ONE, ONE) == pytest.approx(0, abs=1e-9)


def test_both_parts():
    apart = subspace_distance(ONE, ONE + torch.tensor([3.0, 4.0, 0.0, 0.0]))
    assert apart == pytest.approx(5, rel=1e-9)
    centred = ONE - ONE.mean(dim=0)
    assert subspace_distance(centred, 3 * centred) == pytest.approx(np.sqrt(4) * np.log(9), rel=1e-9)


def test_a_ridge_takes_fewer_states():
    few = subspace_distance(ONE[:3], OTHER[:3], ridge=0.1)
    assert 0 < few < np.inf
    assert subspace_distance(ONE, OTHER, ridge=1e-12) == pytest.approx(
        subspace_distance(ONE, OTHER), rel=1e-6
    )
    assert subspace_distance(ONE, ONE, ridge=1.0) == pytest.approx(0, abs=1e-9)


def test_what_is_refused(as_for_users):
    with pytest.raises(ArgumentError, match="there are 4 states of width 4.* at least 5 of each"):
        subspace_distance(ONE[:4], OTHER)
    with pytest.raises(ArgumentError, match="do not vary in every direction"):
        subspace_distance(ONE * torch.tensor([1.0, 1.0, 1.0, 0.0]), OTHER)
    with pytest.raises(ArgumentError, match="finite values"):
        subspace_distance(ONE * float("nan"), OTHER)
    with pytest.raises(ArgumentError, match="same width"):
        subspace_distance(ONE[:, :3], OTHER)
    with pytest.raises(ArgumentError, match="ridge=-1"):
        subspace_distance(ONE, OTHER, ridge=-1)
