"""The paper's probe: greedy choice by brute force, the gradient of its objective, what it finds."""

from itertools import product

import numpy as np
import pytest
import torch

from xalign.errors import ArgumentError
from xalign.probing.latent_probe import (
    LatentProbe,
    _losses,
    greedy_choice,
    greedy_probe,
    train_latent_probe,
)
from xalign.probing.selectors import SELECTORS, Selector, best_dimensions, resolve_selector


def drawn(n=120, width=8, carrying=(2, 5), seed=0):
    label = torch.arange(n) % 2
    states = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    for size, unit in enumerate(carrying):
        states[:, unit] += (3.0 - size) * label
    return states, label


def information(probe, states, label, subset):
    """Every other dimension masked by 0, as the paper evaluates a subset."""
    masked = torch.zeros_like(states)
    masked[:, list(subset)] = states[:, list(subset)]
    predicted = torch.softmax(masked @ probe.weight + probe.bias, dim=1).double().numpy()
    shares = np.bincount(label) / len(label)
    entropy = -(shares * np.log2(shares)).sum()
    return 1 + np.log2(predicted[np.arange(len(label)), label.numpy()]).mean() / entropy


def test_greedy_choice_tries_every_dimension_at_every_step():
    states, label = drawn()
    draw = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(8, 2, generator=draw), torch.randn(2, generator=draw)
    probe = LatentProbe(weight, bias, torch.ones(8))
    chosen, found = greedy_choice(probe, states, label, k=8)
    kept: list[int] = []
    for unit, value in zip(chosen.tolist(), found.tolist(), strict=True):
        tried = {other: information(probe, states, label, [*kept, other]) for other in range(8)}
        tried = {other: one for other, one in tried.items() if other not in kept}
        assert unit == max(tried, key=tried.get)
        assert value == pytest.approx(tried[unit], abs=1e-5)
        assert probe.information(states, label, torch.tensor([*kept, unit])) == pytest.approx(value, abs=1e-5)
        kept.append(unit)
    assert sorted(kept) == list(range(8))


def test_of_equal_dimensions_the_lower_is_chosen():
    states, label = drawn(width=3, carrying=())
    twins = torch.cat([states[:, :1] + 3 * label[:, None]] * 3, dim=1)
    probe = LatentProbe(torch.tensor([[-1.0, 1.0]] * 3), torch.zeros(2), torch.ones(3))
    assert greedy_choice(probe, twins, label, k=3)[0].tolist() == [0, 1, 2]


def test_both_selectors_find_what_carries_the_label():
    train, dev = drawn(seed=0), drawn(seed=1)
    for selector in SELECTORS.values():
        units, score = selector.fn(train, dev, 2, 0)
        assert sorted(units.tolist()) == [2, 5]
        assert score[0] > 0.3
    assert "the paper" in SELECTORS["greedy_probe"].summary
    assert "not the paper's" in SELECTORS["gaussian"].summary


def test_the_same_seed_gives_the_same_units():
    train, dev = drawn(), drawn(seed=1)
    one, two = (greedy_probe(train, dev, 3, seed=4) for _ in range(2))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    before = torch.get_rng_state()
    greedy_probe(train, dev, 3, seed=4)
    assert torch.equal(torch.get_rng_state(), before)  # other random numbers are left alone


def test_the_gradient_of_masks_is_that_of_the_expectation():
    """The score function and the entropy against the sum over all 16 masks, within .05."""
    states, label = drawn(40, 4, carrying=(1,))
    weight, bias = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(2)
    phi = torch.tensor([0.3, -0.5, 0.9, 0.1], requires_grad=True)
    chance = phi.sigmoid()
    expected, entropy = torch.zeros(()), torch.zeros(())
    for bits in product([0.0, 1.0], repeat=4):
        mask = torch.tensor(bits)
        probability = torch.where(mask == 1, chance, 1 - chance).prod()
        lost = torch.nn.functional.cross_entropy((states * mask) @ weight + bias, label)
        expected = expected + probability * lost
        entropy = entropy - probability * probability.log()
    (wanted,) = torch.autograd.grad(expected - entropy, phi)
    draw, found = torch.Generator().manual_seed(0), []
    for _ in range(300):
        loss, _ = _losses(states, label, weight, bias, phi, draw)
        found.append(torch.autograd.grad(loss, phi)[0])
    assert torch.allclose(torch.stack(found).mean(dim=0), wanted, atol=0.05)


def test_training_lowers_the_loss_and_stops():
    states, label = drawn()
    probe = train_latent_probe(states, label)
    everything = torch.arange(8)
    assert probe.information(states, label, everything) > 0.5
    assert probe.information(states, label, torch.tensor([2])) > probe.information(
        states, label, torch.tensor([0])
    )
    assert ((probe.inclusion > 0) & (probe.inclusion < 1)).all()
    untrained = train_latent_probe(states, label, epochs=0)
    assert (untrained.weight == 0).all()


def test_selectors_of_ones_own_and_unknown_ones():
    first = Selector("first", lambda train, dev, k, seed: (torch.arange(k), torch.ones(k)), "the first")
    assert resolve_selector(first) is first
    assert resolve_selector("gaussian").fn is best_dimensions
    with pytest.raises(ArgumentError, match="selector='linear' must be one of greedy_probe, gaussian"):
        resolve_selector("linear")
