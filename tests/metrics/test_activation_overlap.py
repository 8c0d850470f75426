"""Neuron activation overlap: sets by hand, what leaves it as it is, its null, and the edges."""

import numpy as np
import pytest
import torch

from tests.metrics.structures import draw
from xalign.errors import ArgumentError
from xalign.metrics.activation_overlap import (
    ACTIVATION_OVERLAP,
    THRESHOLD,
    activation_overlap,
    pair_overlap,
    unrelated_pair_overlap,
)


def drawn(languages, items=7, neurons=20, share=0.4, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).rand(languages, items, neurons) < share)


def by_hand(active):
    """Per item, from the sets of neurons themselves."""
    found = []
    for item in range(active.shape[1]):
        sets = [{int(j) for j in one[item].nonzero()} for one in active]
        total = sum(map(len, sets))
        found.append(len(sets) * len(set.intersection(*sets)) / total if total else 0.0)
    return found


@pytest.mark.parametrize("languages", [2, 3, 6])
def test_it_is_that_of_sets(languages):
    active = drawn(languages, seed=languages)
    assert max(by_hand(active)) > 0
    assert activation_overlap(active).tolist() == pytest.approx(by_hand(active), abs=1e-12)


def test_what_leaves_it_as_it_is():
    active = drawn(4, share=0.8)
    whole = activation_overlap(active)
    assert torch.equal(activation_overlap(active.flip(0)), whole)  # the order of languages
    assert torch.equal(activation_overlap(active[:, :, torch.randperm(20)]), whole)
    assert torch.equal(activation_overlap(active.flip(1)), whole.flip(0))
    idle = torch.zeros(4, 7, 30, dtype=torch.bool)
    assert torch.equal(activation_overlap(torch.cat([active, idle], dim=2)), whole)


def test_of_pairs_it_takes_strong_neurons_of_either_sign():
    pivot, other = draw(9, 40)
    strong = torch.stack([pivot.abs() > 0.4, other.abs() > 0.4])
    assert THRESHOLD == 0.4  # as in the paper
    assert pair_overlap(pivot, other).tolist() == pytest.approx(by_hand(strong))
    assert torch.equal(pair_overlap(-pivot, other), pair_overlap(other, pivot))


def test_the_null_is_the_mean_over_other_sentences():
    pivot, other = draw(6, 15)
    for row, value in enumerate(unrelated_pair_overlap(pivot, other).tolist()):
        others = [j for j in range(6) if j != row]
        alone = [pair_overlap(pivot[row : row + 1], other[j : j + 1]).item() for j in others]
        assert value == pytest.approx(np.mean(alone), abs=1e-6)
    assert ACTIVATION_OVERLAP.null is unrelated_pair_overlap


def test_the_edges():
    nothing = torch.zeros(2, 3, 5, dtype=torch.bool)
    assert activation_overlap(nothing).tolist() == [0, 0, 0]
    assert activation_overlap(~nothing).tolist() == [1, 1, 1]
    at_the_bar = torch.full((2, 4), THRESHOLD)  # must exceed it
    assert pair_overlap(at_the_bar, at_the_bar).tolist() == [0, 0]
    with pytest.raises(ArgumentError, match="at least 2"):
        activation_overlap(nothing[:1])
    with pytest.raises(ArgumentError, match="no other sentence"):
        unrelated_pair_overlap(torch.ones(1, 3), torch.ones(1, 3))
