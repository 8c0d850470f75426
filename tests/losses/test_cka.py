"""CKA: reference values, dense double-centring, an estimator written as sums, invariances, edges."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from xalign.errors import XAlignError
from xalign.losses.cka import cka, linear_cka, token_cka


def random(seed, *shape):
    return torch.from_numpy(RandomState(seed).randn(*shape))


def masked(language, pivot, **options):
    masks = [torch.ones(side.shape[:2], dtype=torch.bool) for side in (language, pivot)]
    return token_cka(language, pivot, language_mask=masks[0], pivot_mask=masks[1], **options)


def test_reference_values():
    language, pivot = random(100, 2, 5, 4), random(101, 2, 5, 4)
    assert 1 - masked(language, pivot).item() == pytest.approx(0.3467000663786632, rel=1e-12)
    flat = language.view(10, 4), pivot.view(10, 4)
    assert linear_cka(*flat).item() == pytest.approx(0.3467000663786632, rel=1e-12)
    assert 1 - cka(*flat).item() == pytest.approx(0.3467000663786632, rel=1e-12)
    # One sentence of ten tokens beside one of seven: the longer is cut.
    cut = masked(language.view(1, 10, 4), random(102, 1, 7, 4))
    assert 1 - cut.item() == pytest.approx(0.2551856414786646, rel=1e-12)


def double_centred(rows, others):
    """tr(KHLH) over its norms, with the centring matrix H written out."""
    n = len(rows)
    centring = np.eye(n) - np.ones((n, n)) / n
    grams = [centring @ (side @ side.T) @ centring for side in (rows.numpy(), others.numpy())]
    return np.trace(grams[0] @ grams[1]) / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1])


def unbiased_hsic(gram, other):
    """Song et al.'s estimator, as sums over distinct indices."""
    n = len(gram)
    two = sum(gram[i, j] * other[i, j] for i, j in itertools.permutations(range(n), 2))
    three = sum(gram[i, j] * other[i, k] for i, j, k in itertools.permutations(range(n), 3))
    four = sum(gram[i, j] * other[k, m] for i, j, k, m in itertools.permutations(range(n), 4))
    pairs, triples = n * (n - 1), n * (n - 1) * (n - 2)
    return two / pairs - 2 * three / triples + four / (triples * (n - 3))


@pytest.mark.parametrize("width", [3, 40])
def test_it_is_the_dense_double_centring(width):
    rows, others = random(0, 9, width), random(1, 9, width)
    assert linear_cka(rows, others).item() == pytest.approx(double_centred(rows, others), rel=1e-12)


@pytest.mark.parametrize("width", [3, 40])
def test_debiased_is_the_unbiased_estimator(width):
    rows, others = random(0, 7, width), random(1, 7, width)
    grams = [(side @ side.T).numpy() for side in (rows, others)]
    expected = unbiased_hsic(*grams) / np.sqrt(unbiased_hsic(grams[0], grams[0]))
    expected /= np.sqrt(unbiased_hsic(grams[1], grams[1]))
    assert linear_cka(rows, others, debiased=True).item() == pytest.approx(expected, rel=1e-10)


def test_noise_in_many_dimensions_looks_alike_unless_debiased():
    plain, fair = [], []
    for seed in range(10):
        rows, others = random(seed, 16, 2000), random(100 + seed, 16, 2000)
        plain.append(linear_cka(rows, others).item())
        fair.append(linear_cka(rows, others, debiased=True).item())
    assert min(plain) > 0.98
    assert abs(np.mean(fair)) < 0.1


@pytest.mark.parametrize("debiased", [False, True])
def test_it_is_blind_to_shift_scale_rotation_and_order(debiased):
    rows, others = random(2, 8, 5), random(3, 8, 5)
    plain = linear_cka(rows, others, debiased=debiased)
    rotation, _ = torch.linalg.qr(random(4, 5, 5))
    order = torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])
    for sides in ((7 * rows + 3, 0.01 * others - 9), (rows @ rotation, others), (rows[order], others[order])):
        assert torch.allclose(linear_cka(*sides, debiased=debiased), plain, rtol=1e-9)
    assert torch.allclose(linear_cka(others, rows, debiased=debiased), plain, rtol=1e-12)
    assert linear_cka(rows, 5 - 2 * rows @ rotation, debiased=debiased).item() == pytest.approx(1.0)
    assert not torch.allclose(linear_cka(rows, others[order], debiased=debiased), plain, rtol=0.01)


def of_masks(language, pivot, **options):
    masks = torch.tensor([[True, True, False, True], [True, True, True, False]])
    return token_cka(language, pivot, language_mask=masks, pivot_mask=masks.flip(0), **options)


@pytest.mark.parametrize("debiased", [False, True])
def test_gradients_are_those_of_finite_differences(debiased):
    sides = random(5, 6, 4).requires_grad_(), random(6, 6, 4).requires_grad_()
    assert torch.autograd.gradcheck(partial(cka, debiased=debiased), sides)
    sides = random(7, 2, 4, 3).requires_grad_(), random(8, 2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(partial(of_masks, debiased=debiased), sides)


def test_the_nth_token_that_counts_stands_beside_the_nth():
    language, pivot = random(9, 2, 6, 4), random(10, 2, 5, 4)
    masks = [[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 1]], [[1, 1, 0, 0, 1], [0, 1, 1, 0, 0]]
    mine, theirs = (torch.tensor(mask).bool() for mask in masks)
    rows = torch.cat([language[0, [1, 2, 4]], language[1, [0, 3]]])
    others = torch.cat([pivot[0, [0, 1, 4]], pivot[1, [1, 2]]])
    found = token_cka(language, pivot, language_mask=mine, pivot_mask=theirs)
    assert found.item() == pytest.approx(1 - double_centred(rows, others), rel=1e-12)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("number", [0.1, 7.3, 1e-3, 1e30])
def test_equal_rows_have_no_similarities_and_no_gradient(debiased, number):
    equal = (number * torch.randn(1, 9, generator=torch.Generator().manual_seed(0))).repeat(6, 1)
    rows, others = equal.requires_grad_(), random(11, 6, 9).float().requires_grad_()
    loss = cka(rows, others, debiased=debiased)
    assert loss.item() == 1.0
    loss.backward()
    assert not rows.grad.any()
    assert not others.grad.any()


@pytest.mark.parametrize("debiased", [False, True])
def test_long_and_short_vectors_half_precision_autocast_and_nan(debiased):
    rows, others = random(12, 8, 5).float(), random(13, 8, 5).float()
    plain = cka(rows, others, debiased=debiased)
    for size in (1e-11, 1e18, 3e37):
        assert torch.allclose(cka(size * rows, size * others, debiased=debiased), plain, rtol=1e-4)
    half = cka(rows.half(), others.half(), debiased=debiased)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(plain.item(), abs=2e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cka(rows, others, debiased=debiased) == plain
    rows[1, 1] = torch.nan
    assert cka(rows, others, debiased=debiased).isnan()


def test_the_pivot_can_stay():
    for loss, sides in (
        (cka, (random(14, 5, 3), random(15, 5, 3))),
        (masked, (random(14, 2, 4, 3), random(15, 2, 4, 3))),
    ):
        language, pivot = (side.requires_grad_() for side in sides)
        loss(language, pivot, detach_pivot=True).backward()
        assert pivot.grad is None
        assert language.grad.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cka(random(0, 1, 3), random(1, 1, 3)), "at least 2 with debiased=False; there are 1 and 1"),
        (
            lambda: cka(random(0, 3, 3), random(1, 3, 3), debiased=True),
            "at least 4 with debiased=True; there are 3",
        ),
        (lambda: cka(random(0, 4, 3), random(1, 4, 3), debiased=1), "debiased=1 must be True or False"),
        (lambda: cka(random(0, 4, 3), random(1, 4, 2)), r"\(4, 3\) and \(4, 2\)"),
        (lambda: linear_cka(random(0, 4, 3), random(1, 5, 3)), "there are 4 and 5"),
        (lambda: masked(random(0, 1, 1, 3), random(1, 1, 1, 3)), "at least 2 with debiased=False"),
        (lambda: masked(random(0, 1, 0, 3), random(1, 1, 1, 3)), "language_mask: sentence 0 has no token"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
