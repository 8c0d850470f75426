"""Hinge, additive margin and mean squared error: definitions, reference values, finite differences, edges."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from xalign.errors import XAlignError
from xalign.losses.additive_margin import additive_margin
from xalign.losses.contrastive import contrastive
from xalign.losses.hinge import hinge
from xalign.losses.mse import mse

LANGUAGE = torch.from_numpy(RandomState(0).randn(4, 6))
PIVOT = torch.from_numpy(RandomState(1).randn(4, 6))
GROUPS = torch.tensor([0, 0, 1, 1])
SAME = torch.tensor([0, 1, 1, 3])


# LaBSE's figures are sums over both directions; s = 1 / temperature.
@pytest.mark.parametrize(
    ("scale", "to_pivot", "from_pivot"),
    [(1.0, 1.682191142247376, 1.6542236589893433), (10.0, 6.932960939708494, 5.28534896538183)],
)
def test_additive_margin_reference_values(scale, to_pivot, from_pivot):
    options = {"temperature": 1 / scale, "margin": 0.3}
    for direction, expected in (
        ("to_pivot", to_pivot),
        ("from_pivot", from_pivot),
        ("both", (to_pivot + from_pivot) / 2),
    ):
        found = additive_margin(LANGUAGE, PIVOT, direction=direction, **options)
        assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_margin_is_taken_from_the_translation_alone():
    options = {"temperature": 0.2, "languages": GROUPS, "same": SAME}
    plain = contrastive(LANGUAGE, PIVOT, **options)
    assert additive_margin(LANGUAGE, PIVOT, margin=0.0, **options) == plain
    far = additive_margin(torch.eye(2), torch.eye(2), temperature=0.5, margin=0.5)
    # Cosines 1 and 0, so scores of (1 − .5) / .5 and 0.
    assert far.item() == pytest.approx(np.log(1 + np.exp(-1.0)), rel=1e-6)
    assert contrastive(torch.eye(2), torch.eye(2), temperature=0.5, margin=0.5) == far


def hinge_by_hand(language, pivot, margin, hardest, direction, groups=None, same=(0, 1, 2, 3)):
    """The definition, sentence by sentence, in numpy."""
    language, pivot = language.numpy().copy(), pivot.numpy().copy()
    if groups is not None:
        for group in set(groups):
            rows = [i for i, one in enumerate(groups) if one == group]
            language[rows] -= language[rows].mean(0)
        pivot -= pivot.mean(0)

    def cos(one, other):
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    def one_way(anchors, candidates):
        terms = []
        for i, anchor in enumerate(anchors):
            own = cos(anchor, candidates[i])
            others = [
                max(0.0, margin + cos(anchor, candidates[j]) - own)
                for j in range(len(candidates))
                if same[i] != same[j]
            ]
            terms.append(0.0 if not others else max(others) if hardest else np.mean(others))
        return np.mean(terms)

    ways = {"to_pivot": [(language, pivot)], "from_pivot": [(pivot, language)]}
    ways["both"] = ways["to_pivot"] + ways["from_pivot"]
    return np.mean([one_way(*way) for way in ways[direction]])


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("direction", ["to_pivot", "from_pivot", "both"])
@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1]])
@pytest.mark.parametrize("same", [(0, 1, 2, 3), (0, 1, 1, 3), (0, 0, 0, 0)])
def test_hinge_equals_its_definition(hardest, direction, groups, same):
    found = hinge(
        LANGUAGE,
        PIVOT,
        margin=0.3,
        hardest=hardest,
        direction=direction,
        languages=None if groups is None else torch.tensor(groups),
        same=torch.tensor(same),
    )
    expected = hinge_by_hand(LANGUAGE, PIVOT, 0.3, hardest, direction, groups, same)
    assert found.item() == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert (expected == 0) == (same == (0, 0, 0, 0))


def test_hinge_asks_no_more_once_the_margin_is_kept():
    aligned = torch.eye(4, dtype=torch.float64).requires_grad_()
    loss = hinge(aligned, torch.eye(4, dtype=torch.float64), margin=0.9)
    assert loss == 0
    loss.backward()
    assert not aligned.grad.any()
    assert hinge(torch.eye(4), torch.eye(4), margin=1.5).item() == pytest.approx(0.5)
    assert hinge(torch.ones(4, 3), torch.ones(4, 3), margin=0.2).item() == pytest.approx(0.2)  # a point


def test_mse_is_the_mean_over_all_coordinates():
    one, other = (torch.from_numpy(RandomState(seed).randn(2, 5, 4)).view(10, 4) for seed in (100, 101))
    assert mse(one, other).item() == pytest.approx(2.4049032603563454, rel=1e-12)
    assert mse(torch.zeros(1, 3), torch.full((1, 3), 2.0)).item() == 4.0
    assert mse(one + 3, other + 3).item() == pytest.approx(2.4049032603563454, rel=1e-12)
    assert mse(3 * one, 3 * other).item() == pytest.approx(9 * 2.4049032603563454, rel=1e-12)


@pytest.mark.parametrize("moves", ["language", "pivot", "both"])
def test_mse_moves_what_it_is_told_to(moves):
    sides = {"language": LANGUAGE.clone().requires_grad_(), "pivot": PIVOT.clone().requires_grad_()}
    mse(**sides, moves=moves).backward()
    expected = 2 * (LANGUAGE - PIVOT) / LANGUAGE.numel()
    for name, sign in (("language", 1), ("pivot", -1)):
        if moves in (name, "both"):
            assert torch.allclose(sides[name].grad, sign * expected, rtol=1e-12)
        else:
            assert sides[name].grad is None


@pytest.mark.parametrize(
    "loss",
    [
        partial(additive_margin, temperature=0.3, languages=GROUPS, same=SAME),
        partial(additive_margin, temperature=0.3, margin=0.7, direction="from_pivot"),
        partial(hinge, margin=0.5),
        partial(hinge, margin=1.0, languages=GROUPS, same=SAME),
        partial(hinge, margin=0.5, hardest=True, direction="to_pivot"),
        partial(mse, moves="both"),
    ],
)
def test_gradients_are_those_of_finite_differences(loss):
    sides = LANGUAGE.clone().requires_grad_(), PIVOT.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, sides)


@pytest.mark.parametrize("loss", [additive_margin, hinge, mse])
def test_the_order_of_pairs_changes_nothing_and_half_precision_is_compared_in_float32(loss):
    order = torch.tensor([2, 0, 3, 1])
    plain = loss(LANGUAGE, PIVOT)
    assert torch.allclose(loss(LANGUAGE[order], PIVOT[order]), plain, rtol=1e-12)
    half = loss(LANGUAGE.half(), PIVOT.half())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(plain.item(), rel=0.01)
    full = loss(LANGUAGE.float(), PIVOT.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(LANGUAGE.float(), PIVOT.float()) == full
    bad = LANGUAGE.clone()
    bad[1, 1] = torch.nan
    assert loss(bad, PIVOT).isnan()


@pytest.mark.parametrize("loss", [additive_margin, hinge])
def test_cosines_are_blind_to_scale_and_the_pivot_can_stay(loss):
    assert torch.allclose(loss(3 * LANGUAGE, 0.1 * PIVOT), loss(LANGUAGE, PIVOT), rtol=1e-12)
    sides = LANGUAGE.clone().requires_grad_(), PIVOT.clone().requires_grad_()
    loss(*sides, detach_pivot=True).backward()
    assert sides[1].grad is None
    assert sides[0].grad.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: additive_margin(LANGUAGE, PIVOT, margin=-0.1), "margin=-0.1 must be 0 or above 0"),
        (lambda: additive_margin(LANGUAGE, PIVOT, temperature=0.0), "temperature=0.0 must be above 0"),
        (lambda: additive_margin(LANGUAGE[:1], PIVOT[:1]), "one pair, so there is no negative"),
        (lambda: hinge(LANGUAGE, PIVOT, margin=0.0), "margin=0.0 must be above 0"),
        (lambda: hinge(LANGUAGE, PIVOT, margin="wide"), "margin='wide' must be a number"),
        (lambda: hinge(LANGUAGE, PIVOT, hardest=1), "hardest=1 must be True or False"),
        (lambda: hinge(LANGUAGE, PIVOT, direction="up"), "direction='up' must be one of to_pivot"),
        (lambda: hinge(LANGUAGE[:1], PIVOT[:1]), "one pair, so there is no negative"),
        (lambda: hinge(LANGUAGE, PIVOT[:3]), r"\(4, 6\) and \(3, 6\)"),
        (lambda: mse(LANGUAGE, PIVOT, moves="none"), "moves='none' must be one of language, pivot, both"),
        (lambda: mse(LANGUAGE[:0], PIVOT[:0]), "no pair; give at least 1"),
        (lambda: mse(LANGUAGE, PIVOT.long()), "pivot must be a tensor of floating-point numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
