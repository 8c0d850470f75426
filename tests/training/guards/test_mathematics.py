"""The guards' numbers: torch's own divergence, loops and arithmetic, and finite differences in float64."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import kl_div, log_softmax, softmax

from xalign.errors import ModelError
from xalign.training.guards.kl import kl
from xalign.training.guards.l2_sp import L2SP
from xalign.training.guards.pivot_drift import pivot_drift

LABELS = torch.tensor([[5, 1, 2, 3], [5, 4, -100, -100]])


def logits(seed, dtype=torch.float64):
    return torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_kl_is_that_of_torch_over_predicted_tokens():
    now, before = logits(0), logits(1)
    # The token at place t predicts label t + 1: three of the first document, one of the second.
    places = [(0, 0), (0, 1), (0, 2), (1, 0)]
    each = [
        kl_div(log_softmax(now[one], dim=0), softmax(before[one], dim=0), reduction="sum") for one in places
    ]
    assert kl(now, before, LABELS).item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-12)
    assert kl(now, now, LABELS).item() == 0
    assert kl(now, before, LABELS) != kl(before, now, LABELS)  # it is of the start to now
    other = before.clone()
    other[1, 1:] = 99.0
    assert kl(now, other, LABELS) == kl(now, before, LABELS)


def test_kl_in_half_precision_is_computed_in_float32():
    half = logits(0, torch.bfloat16), logits(1, torch.bfloat16)
    found = kl(*half, LABELS)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(kl(*(one.double() for one in half), LABELS).item(), rel=1e-5)


def test_gradients_are_those_of_finite_differences():
    now, before = logits(0).requires_grad_(), logits(1).requires_grad_()
    assert gradcheck(lambda one: kl(one, before, LABELS), (now,))
    kl(now, before, LABELS).backward()
    assert before.grad is None
    states, start = logits(2).requires_grad_(), logits(3).requires_grad_()
    mask = LABELS >= 0
    assert gradcheck(lambda one: pivot_drift([one], [start], [0.7], mask, mask).double(), (states,))
    pivot_drift([states], [start], [0.7], mask, mask).backward()
    assert start.grad is None


def test_drift_is_the_mean_over_tokens_that_count_whatever_the_padding():
    states, start, mask = [logits(0), logits(1)], [logits(2), logits(3)], LABELS >= 0
    expected = 0.0
    for one, other, weight in zip(states, start, (0.25, 0.75), strict=True):
        squares = [
            (one[line, token, place] - other[line, token, place]).item() ** 2
            for line, token in mask.nonzero().tolist()
            for place in range(6)
        ]
        expected += weight * sum(squares) / len(squares)
    found = pivot_drift(states, start, [0.25, 0.75], mask, mask)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    padded = [torch.cat([one, torch.full((2, 3, 6), 9.0, dtype=one.dtype)], dim=1) for one in states]
    longer = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    assert pivot_drift(padded, start, [0.25, 0.75], longer, mask) == found
    pooled = [one[:, 0] for one in states], [one[:, 0] for one in start]
    expected = sum(
        weight * (one - other).square().sum().item() / 12
        for one, other, weight in zip(*pooled, (0.25, 0.75), strict=True)
    )
    assert pivot_drift(*pooled, [0.25, 0.75]).item() == pytest.approx(expected, rel=1e-6)


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.trained = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        self.frozen = torch.nn.Parameter(torch.tensor([5.0]), requires_grad=False)


def test_l2_sp_is_half_the_squared_distance_of_what_is_trained():
    model = Two()
    distance = L2SP(model)
    assert distance(model).item() == 0
    with torch.no_grad():
        model.trained += torch.tensor([3.0, -4.0])
        model.frozen += 100
    value = distance(model)
    assert value.item() == 12.5
    value.backward()
    assert model.trained.grad.tolist() == [3.0, -4.0]
    assert model.frozen.grad is None


def test_l2_sp_of_half_precision_weights_is_summed_in_float32():
    model = Two().bfloat16()
    distance = L2SP(model)
    with torch.no_grad():
        model.trained += 0.5
    assert distance(model).dtype == torch.float32
    assert distance(model).item() == 0.25


def test_a_weight_that_is_trained_later_has_no_start():
    model = Two()
    distance = L2SP(model)
    model.frozen.requires_grad_(True)
    with pytest.raises(ModelError, match="l2_sp: frozen is trained now and was not when the objective was"):
        distance(model)
