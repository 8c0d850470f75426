"""Token transport: reference values, POT, exact assignments, gradients, masks, and what does not converge."""

import itertools
from functools import partial

import numpy as np
import ot
import pytest
import torch
from numpy.random import RandomState
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import normalize

from xalign.errors import XAlignError
from xalign.losses.sinkhorn import sinkhorn
from xalign.losses.transport import transport

# Two sentences of four tokens, and their figures, of an independent implementation.
LANGUAGE, PIVOT = (torch.from_numpy(RandomState(seed).randn(1, 4, 3)) for seed in (60, 61))
CONVERGED = {"tolerance": 1e-10, "iterations": 20_000}


def of(*counts, tokens=None):
    """A mask with so many tokens that count in each sentence."""
    return torch.arange(tokens or max(counts)) < torch.tensor(counts).unsqueeze(1)


def whole(language, pivot, **options):
    masks = [torch.ones(side.shape[:2], dtype=torch.bool) for side in (language, pivot)]
    return transport(language, pivot, language_mask=masks[0], pivot_mask=masks[1], **options)


def cost(language, pivot):
    return 1 - normalize(language, dim=2) @ normalize(pivot, dim=2).transpose(1, 2)


def random(seed, *shape):
    return torch.from_numpy(RandomState(seed).randn(*shape))


@pytest.mark.parametrize(
    ("pivot", "options", "expected"),
    [
        (PIVOT, {"temperature": 1.0}, 0.6177841635),
        (PIVOT, {"temperature": 0.1}, 0.3455721372),
        (PIVOT[:, :3], {"temperature": 0.1}, 0.4923785089055336),
        (PIVOT, {"temperature": 0.1, "debiased": True}, 0.3361898293),
    ],
)
def test_reference_values(pivot, options, expected):
    assert whole(LANGUAGE, pivot, **options, **CONVERGED).item() == pytest.approx(expected, abs=1e-9)


def test_the_reference_plan_and_the_value_of_a_hundred_iterations():
    plan = sinkhorn(cost(LANGUAGE, PIVOT), **CONVERGED).plan
    assert plan[0, 0].tolist() == pytest.approx([0.095624, 0.000073, 0.002625, 0.151679], abs=1e-6)
    # Just tight enough to look at the error after 100 iterations, at which 90 were too few.
    few = sinkhorn(cost(LANGUAGE, PIVOT), tolerance=0.003, iterations=100)
    assert few.iterations == 100
    assert (few.plan * cost(LANGUAGE, PIVOT)).sum().item() == pytest.approx(0.3458068, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.05])
def test_plans_are_those_of_pot(temperature):
    costs = cost(random(0, 3, 6, 16), random(1, 3, 5, 16))
    found = sinkhorn(costs, temperature=temperature, tolerance=1e-10)
    for plan, of_pair in zip(found.plan.numpy(), costs.numpy(), strict=True):
        rows, columns = np.full(6, 1 / 6), np.full(5, 1 / 5)
        expected = ot.bregman.sinkhorn_log(
            rows, columns, of_pair, temperature, numItermax=20_000, stopThr=1e-12
        )
        assert np.abs(plan - expected).max() < 1e-9
        assert np.abs(plan.sum(1) - rows).max() < 1e-8
        assert np.abs(plan.sum(0) - columns).max() < 1e-8


def test_as_the_temperature_falls_the_cost_falls_to_that_of_the_best_matching():
    language, pivot = random(2, 4, 7, 12), random(3, 4, 7, 12)
    costs = cost(language, pivot)
    exact = np.mean([one[linear_sum_assignment(one)].mean() for one in costs.numpy()])
    assert exact == pytest.approx(
        np.mean([ot.emd2(np.full(7, 1 / 7), np.full(7, 1 / 7), one) for one in costs.numpy()])
    )
    values = [
        whole(language, pivot, temperature=temperature, tolerance=1e-4).item()
        for temperature in (1.0, 0.3, 0.1, 0.03, 0.01)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(exact, abs=1e-3)
    assert values[0] > exact + 0.1
    # The reference's own figure, of four tokens and the permutation 3 2 1 0.
    (of_four,) = cost(LANGUAGE, PIVOT).numpy()
    rows, columns = linear_sum_assignment(of_four)
    assert columns.tolist() == [3, 2, 1, 0]
    assert of_four[rows, columns].mean() == pytest.approx(0.33051053300520433, rel=1e-12)


def test_tokens_in_another_order_are_found_again():
    language = random(4, 1, 6, 16)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    plan = sinkhorn(cost(language, language[:, order]), temperature=0.05).plan
    assert torch.equal(plan[0].argmax(dim=0), order)
    assert whole(language, language[:, order], temperature=0.02).item() < 1e-6
    assert abs(whole(language, language[:, order], debiased=True, **CONVERGED).item()) < 1e-9


def entropic_value(language, pivot, temperature):
    """min ⟨P, C⟩ + ε Σ P (log P − 1), from POT's plan alone."""
    value = 0.0
    for one in cost(language, pivot).numpy():
        even = [np.full(size, 1 / size) for size in one.shape]
        plan = ot.bregman.sinkhorn_log(*even, one, temperature, numItermax=50_000, stopThr=1e-13)
        value += (plan * one).sum() + temperature * (plan * (np.log(plan) - 1)).sum()
    return value / len(language)


def test_the_gradient_is_that_of_the_regularised_cost():
    language, pivot = random(5, 2, 4, 3).requires_grad_(), random(6, 2, 3, 3).requires_grad_()
    whole(language, pivot, temperature=0.3, tolerance=1e-12).backward()
    for side, step in itertools.product((language, pivot), (1e-5,)):
        for place in [(0, 0, 0), (0, 2, 1), (1, 1, 2)]:
            ends = []
            for sign in (1, -1):
                moved = side.detach().clone()
                moved[place] += sign * step
                sides = (moved, pivot.detach()) if side is language else (language.detach(), moved)
                ends.append(entropic_value(*sides, 0.3))
            assert side.grad[place].item() == pytest.approx((ends[0] - ends[1]) / 2 / step, abs=1e-7)


@pytest.mark.parametrize("debiased", [False, True])
def test_with_its_plans_held_the_gradient_is_that_of_finite_differences(debiased, monkeypatch):
    language, pivot = random(7, 2, 4, 3).requires_grad_(), random(8, 2, 3, 3).requires_grad_()
    kept = {}

    def held(costs, *masks, symmetric, **options):
        key = costs.shape, symmetric
        kept.setdefault(key, sinkhorn(costs, *masks, symmetric=symmetric, **options))
        return kept[key]

    monkeypatch.setattr("xalign.losses.transport.sinkhorn", held)
    assert torch.autograd.gradcheck(partial(whole, debiased=debiased), (language, pivot))


def test_padding_changes_nothing():
    language, pivot = random(9, 2, 5, 4), random(10, 2, 6, 4)
    masks = {"language_mask": of(5, 3), "pivot_mask": of(2, 6)}
    for debiased in (False, True):
        apart = [
            whole(language[:1], pivot[:1, :2], debiased=debiased, **CONVERGED),
            whole(language[1:, :3], pivot[1:], debiased=debiased, **CONVERGED),
        ]
        sides = language.clone().requires_grad_(), pivot.clone().requires_grad_()
        loss = transport(*sides, **masks, debiased=debiased, **CONVERGED)
        assert loss.item() == pytest.approx(sum(apart).item() / 2, abs=1e-9)
        loss.backward()
        for side, mask in zip(sides, masks.values(), strict=True):
            assert not side.grad[~mask].any()
            assert side.grad[mask].any(dim=1).all()
        changed = language.masked_fill(~masks["language_mask"].unsqueeze(2), 7.0)
        assert torch.equal(transport(changed, pivot, **masks, debiased=debiased, **CONVERGED), loss)


def test_it_is_blind_to_scale_to_the_order_of_tokens_and_of_pairs_and_to_which_side_is_which():
    language, pivot = random(11, 3, 4, 5), random(12, 3, 6, 5)
    plain = whole(language, pivot, **CONVERGED)
    order = torch.tensor([2, 0, 1])
    for sides in (
        (3 * language, 0.1 * pivot),
        (language[order], pivot[order]),
        (language[:, [3, 1, 0, 2]], pivot.flip(1)),
        (pivot, language),
    ):
        assert torch.allclose(whole(*sides, **CONVERGED), plain, atol=1e-10)


def test_the_plan_has_no_gradient_and_one_side_can_stay():
    language, pivot = (side.clone().requires_grad_() for side in (LANGUAGE, PIVOT))
    assert not sinkhorn(cost(language, pivot)).plan.requires_grad
    for debiased in (False, True):
        language.grad = pivot.grad = None
        whole(language, pivot, debiased=debiased).backward()
        both, language.grad, pivot.grad = language.grad, None, None
        whole(language, pivot, debiased=debiased, detach_pivot=True).backward()
        assert pivot.grad is None
        assert torch.allclose(language.grad, both)


def test_debiased_does_not_reward_a_sentence_whose_tokens_come_together():
    """Plain ⟨P, C⟩ pulls all tokens of a sentence towards their mean; debiased, equal sides are at rest."""
    grads = {}
    for debiased in (False, True):
        language = LANGUAGE.clone().requires_grad_()
        whole(language, LANGUAGE, temperature=0.5, debiased=debiased, **CONVERGED).backward()
        grads[debiased] = language.grad.norm().item()
    assert grads[False] > 0.01
    assert grads[True] < 1e-8


def test_half_precision_is_solved_in_float32_also_under_autocast():
    language, pivot = LANGUAGE.half(), PIVOT.half()
    plain = whole(language, pivot)
    assert plain.dtype == torch.float32
    assert plain.item() == pytest.approx(whole(LANGUAGE, PIVOT).item(), abs=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert whole(language, pivot) == plain


def test_states_that_are_not_finite_are_seen():
    for bad in (torch.nan, torch.inf):
        language = LANGUAGE.clone()
        language[0, 1, 1] = bad
        assert whole(language, PIVOT).isnan()


def test_what_sinkhorn_says_of_itself():
    costs = cost(LANGUAGE, PIVOT)
    loose, tight = sinkhorn(costs, tolerance=0.1), sinkhorn(costs, tolerance=1e-6)
    assert loose.iterations < tight.iterations
    for found in (loose, tight):
        off = (found.plan.sum(dim=2) - 0.25).abs().sum(dim=1)
        assert torch.allclose(found.error, off, atol=1e-15)
        assert torch.allclose(found.plan.sum(dim=1), torch.full((1, 4), 0.25, dtype=torch.float64))
    assert tight.error.item() <= 1e-6 < loose.error.item() <= 0.1
    symmetric = sinkhorn(cost(LANGUAGE, LANGUAGE), symmetric=True, tolerance=1e-10)
    assert torch.allclose(symmetric.plan, symmetric.plan.transpose(1, 2))
    assert symmetric.iterations < 200
    turns = sinkhorn(cost(LANGUAGE, LANGUAGE), tolerance=1e-8, iterations=100_000)
    assert torch.allclose(symmetric.plan, turns.plan, atol=1e-6)


MASK = of(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: whole(LANGUAGE, PIVOT, iterations=20, tolerance=1e-6),
            r"plan of 1 of 1 pairs \(first: 0\) has not converged: after 20 iterations the masses of the "
            r"rows are off by 0.0\d+ of 1 in all, and tolerance=1e-06. Raise temperature=0.1, tolerance or",
        ),
        (
            lambda: transport(LANGUAGE, PIVOT, language_mask=of(0, tokens=4), pivot_mask=MASK),
            "language_mask: sentence 0 has no token that counts; leave the pair out",
        ),
        (lambda: sinkhorn(torch.zeros(1, 2, 2), columns=of(0, tokens=2)), "columns: sentence 0 has no token"),
        (lambda: whole(LANGUAGE, PIVOT, temperature=0.0), "temperature=0.0 must be above 0"),
        (lambda: whole(LANGUAGE, PIVOT, temperature=1e-5), "temperature=1e-05 must be at least 0.0001"),
        (lambda: whole(LANGUAGE, PIVOT, tolerance=0), "tolerance=0 must be above 0"),
        (lambda: whole(LANGUAGE, PIVOT, iterations=0), "iterations=0 must be at least 1"),
        (lambda: whole(LANGUAGE, PIVOT, debiased=1), "debiased=1 must be True or False"),
        (lambda: whole(LANGUAGE[:0], PIVOT[:0]), "the batch has no pair"),
        (lambda: whole(LANGUAGE, PIVOT[:, :, :2]), r"one width; they are \(1, 4, 3\) and \(1, 4, 2\)"),
        (lambda: whole(LANGUAGE[:, :, :0], PIVOT[:, :, :0]), "width 0"),
        (
            lambda: transport(LANGUAGE, PIVOT, language_mask=of(3), pivot_mask=MASK),
            r"language_mask has shape \(1, 3\); it needs \(1, 4\)",
        ),
        (
            lambda: transport(LANGUAGE, PIVOT, language_mask=MASK.long(), pivot_mask=MASK),
            "language_mask must be a tensor of True and False",
        ),
        (
            lambda: transport(LANGUAGE, PIVOT.long(), language_mask=MASK, pivot_mask=MASK),
            "pivot must be a tensor of floating-point numbers",
        ),
        (lambda: sinkhorn(torch.zeros(2, 2)), r"cost must be a tensor \[pair, row, column\] of numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
