"""Sharing groups: counted by hand, their expectation against draws, scores by loops, and the edges."""

from itertools import product

import numpy as np
import pytest
import torch

from tests.metrics.structures import draw
from xalign.errors import ArgumentError
from xalign.metrics.sharing_groups import (
    GROUPS,
    contribution_scores,
    effective_scores,
    expected_groups,
    group_shares,
    shared_by_chance,
    shared_neurons,
    sharing_groups,
)


def drawn(languages, items=5, neurons=30, share=0.5, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).rand(languages, items, neurons) < share)


def name_by_hand(bits):
    count = sum(bits)
    if count == len(bits):
        return "all_shared"
    return {0: "non_activated", 1: "specific"}.get(count, "partial_shared")


@pytest.mark.parametrize("languages", [2, 3, 8])
def test_groups_are_counted(languages):
    active = drawn(languages, seed=languages)
    groups = sharing_groups(active)
    for item, neuron in product(range(5), range(30)):
        assert GROUPS[groups[item, neuron]] == name_by_hand(active[:, item, neuron].tolist())
    assert set(groups.unique().tolist()) == ({0, 1, 3} if languages == 2 else {0, 1, 2, 3}) or languages == 8


def test_what_leaves_groups_as_they_are():
    active = drawn(4)
    whole = sharing_groups(active)
    order = torch.randperm(30)
    assert torch.equal(sharing_groups(active.flip(0)), whole)
    assert torch.equal(sharing_groups(active[:, :, order]), whole[:, order])


@pytest.mark.parametrize("rates", [[0.3, 0.7], [0.2, 0.5, 0.9, 0.4]])
def test_the_expectation_is_a_sum_over_all_patterns(rates):
    by_hand = dict.fromkeys(GROUPS, 0.0)
    for bits in product([0, 1], repeat=len(rates)):
        chances = [rate if bit else 1 - rate for rate, bit in zip(rates, bits, strict=True)]
        by_hand[name_by_hand(bits)] += float(np.prod(chances))
    found = expected_groups(torch.tensor(rates))
    assert found.tolist() == pytest.approx([by_hand[name] for name in GROUPS], abs=1e-6)
    assert found.sum().item() == pytest.approx(1)


def test_the_expectation_is_what_independent_draws_give():
    """§5.4: all-shared shrinks with the number of languages as Π p does; drawn, within .01."""
    for languages in (2, 5, 9):
        rates = torch.linspace(0.6, 0.9, languages)
        active = (
            torch.rand(languages, 1, 40_000, generator=torch.Generator().manual_seed(0))
            < rates[:, None, None]
        )
        groups = sharing_groups(active)[0]
        for number, expected in enumerate(expected_groups(rates).tolist()):
            assert (groups == number).double().mean().item() == pytest.approx(expected, abs=0.01)


def test_scores_are_those_of_loops():
    values, columns, answers = torch.randn(3, 6), torch.randn(6, 4), torch.randn(3, 4)
    contribution = contribution_scores(values, columns.norm(dim=1))
    effective = effective_scores(values, columns, answers)
    for item, neuron in product(range(3), range(6)):
        moved = values[item, neuron] * columns[neuron]
        assert contribution[item, neuron].item() == pytest.approx(moved.norm().item(), abs=1e-5)
        assert effective[item, neuron].item() == pytest.approx((answers[item] @ moved).item(), abs=1e-5)
    assert (effective < 0).any()


def test_shares_of_the_top():
    """§5.2: 800 of 16384 are about 5 %, to .2 %."""
    assert abs(800 / 16384 - 0.05) < 0.002
    scores, groups = draw(4, 50)[0].abs(), sharing_groups(drawn(5, 4, 50))
    found = group_shares(scores, groups, top=10)
    for item in range(4):
        best = sorted(range(50), key=lambda j: -scores[item, j])[:10]
        for number in range(4):
            assert found[number, item].item() == pytest.approx(
                np.mean([groups[item, j].item() == number for j in best])
            )
    assert torch.allclose(found.sum(dim=0), torch.ones(4, dtype=torch.float64))
    everything = group_shares(scores, groups, top=50)
    assert everything[3, 0].item() == (groups[0] == 3).double().mean().item()
    tied = group_shares(torch.ones(1, 3), torch.tensor([[0, 1, 3]]), top=2)
    assert tied[:, 0].tolist() == [0.5, 0.5, 0, 0]  # the lower index first


def test_of_pairs_it_is_that_of_sets():
    pivot, other = draw(8, 30)
    for row, value in enumerate(shared_neurons(pivot, other).tolist()):
        one, two = ({int(j) for j in side[row].gt(0).nonzero()} for side in (pivot, other))
        assert value == pytest.approx(len(one & two) / len(one | two))
    assert torch.equal(shared_neurons(other, pivot), shared_neurons(pivot, other))
    assert torch.equal(shared_neurons(3 * pivot, other), shared_neurons(pivot, other))


def test_chance_of_pairs_is_that_of_independent_sentences():
    """Drawn independently, within .01."""
    generator = torch.Generator().manual_seed(0)
    pivot, other = (torch.randn(50, 4000, generator=generator) + shift for shift in (-0.5, 0.5))
    assert shared_neurons(pivot, other).mean().item() == pytest.approx(
        shared_by_chance(pivot, other).mean().item(), abs=0.01
    )


def test_the_edges():
    nothing = -torch.ones(2, 4)
    assert shared_neurons(nothing, nothing).tolist() == shared_by_chance(nothing, nothing).tolist() == [0, 0]
    assert shared_neurons(torch.zeros(1, 3), torch.ones(1, 3)).tolist() == [0]  # 0 is not active
    with pytest.raises(ArgumentError, match="at least 2"):
        sharing_groups(torch.ones(1, 2, 3, dtype=torch.bool))
    for top in (0, 5):
        with pytest.raises(ArgumentError, match=f"top={top} must be from 1 to the number of neurons, 4"):
            group_shares(torch.ones(1, 4), torch.zeros(1, 4).long(), top=top)
