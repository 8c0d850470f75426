"""Losses: reference values, finite differences, invariances, edges."""

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from xalign.errors import XAlignError
from xalign.losses.contrastive import contrastive
from xalign.losses.cosine import cosine
from xalign.losses.neuron_state import neuron_state, smooth_state
from xalign.losses.similarity import in_batch, is_same

# The anchors and candidates of the reference figures (Liu and Niehues' own loss statements, executed).
LANGUAGE = torch.from_numpy(RandomState(0).randn(4, 6))
PIVOT = torch.from_numpy(RandomState(1).randn(4, 6))
GROUPS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("direction", "temperature", "expected"),
    [
        ("to_pivot", 0.1, 4.28626283027872),
        ("from_pivot", 0.1, 2.962833487426167),
        ("both", 0.1, 3.624548158852444),
        ("to_pivot", 1.0, 1.4475413587755774),
        ("to_pivot", 0.05, 8.345358180331651),
    ],
)
def test_contrastive_reference_values(direction, temperature, expected):
    loss = contrastive(LANGUAGE, PIVOT, temperature=temperature, direction=direction)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_contrast_of_alignx_is_half_of_ours():
    """Its sides are means over spans of one sentence, marked 1 and 2."""
    states = torch.from_numpy(RandomState(7).randn(3, 6, 4))
    spans = torch.tensor([[0, 1, 1, 2, 2, 0], [0, 1, 1, 1, 2, 0], [0, 1, 2, 2, 2, 0]])
    source, target = (
        torch.stack([row[marks == side].mean(dim=0) for row, marks in zip(states, spans, strict=True)])
        for side in (1, 2)
    )
    loss = contrastive(source, target, temperature=0.1, direction="to_pivot")
    assert loss.item() / 2 == pytest.approx(3.9154227980276306, rel=1e-9)


def test_contrastive_reference_gradients():
    language, pivot = LANGUAGE.clone().requires_grad_(), PIVOT.clone().requires_grad_()
    contrastive(language, pivot, temperature=0.1, direction="to_pivot").backward()
    assert language.grad.norm().item() == pytest.approx(2.310988184783003, rel=1e-9)
    assert pivot.grad.norm().item() == pytest.approx(2.14797161414249, rel=1e-9)
    expected = [-0.099986, -0.014955, 0.073475, 0.095433, 0.027142, 0.157676]
    assert language.grad[0].tolist() == pytest.approx(expected, abs=1e-6)
    whole, language.grad = language.grad, None
    pivot.grad = None
    contrastive(language, pivot, temperature=0.1, direction="to_pivot", detach_pivot=True).backward()
    assert pivot.grad is None
    assert torch.equal(language.grad, whole)


def brute_force(language, pivot, temperature, groups, same, extra=None, direction="both"):
    """The definition, pair by pair, in numpy."""
    language, pivot = language.numpy().copy(), pivot.numpy().copy()
    if groups is not None:
        for group in set(groups):
            rows = [i for i, g in enumerate(groups) if g == group]
            language[rows] -= language[rows].mean(0)
        middle = pivot.mean(0)
        pivot -= middle
        extra = None if extra is None else extra.numpy() - middle
    elif extra is not None:
        extra = extra.numpy()

    def cos(one, other):
        return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

    def one_way(anchors, candidates, more):
        terms = []
        for i, anchor in enumerate(anchors):
            shown = [c for j, c in enumerate(candidates) if j == i or same[i] != same[j]]
            shown += [] if more is None else list(more)
            scores = [cos(anchor, c) / temperature for c in shown]
            terms.append(np.log(np.sum(np.exp(scores))) - cos(anchor, candidates[i]) / temperature)
        return np.mean(terms)

    ways = {"to_pivot": [(language, pivot, extra)], "from_pivot": [(pivot, language, None)]}
    ways["both"] = ways["to_pivot"] + ways["from_pivot"]
    return np.mean([one_way(*way) for way in ways[direction]])


@pytest.mark.parametrize("direction", ["to_pivot", "both"])
@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1]])
@pytest.mark.parametrize("same", [[0, 1, 2, 3], [0, 1, 1, 3]])
@pytest.mark.parametrize("with_extra", [False, True])
def test_contrastive_equals_its_definition(direction, groups, same, with_extra):
    extra = torch.from_numpy(RandomState(2).randn(3, 6)) if with_extra else None
    loss = contrastive(
        LANGUAGE,
        PIVOT,
        temperature=0.2,
        direction=direction,
        languages=None if groups is None else torch.tensor(groups),
        same=torch.tensor(same),
        extra=extra,
    )
    expected = brute_force(LANGUAGE, PIVOT, 0.2, groups, same, extra, direction)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_each_option_of_contrastive_changes_something():
    plain = contrastive(LANGUAGE, PIVOT, temperature=0.2)
    for change in (
        {"languages": GROUPS},
        {"same": torch.tensor([0, 1, 1, 3])},
        {"extra": PIVOT + 1},
        {"direction": "to_pivot"},
    ):
        assert abs(contrastive(LANGUAGE, PIVOT, temperature=0.2, **change) - plain) > 1e-3, change


def losses_of(one, other):
    shares = smooth_state(one), smooth_state(other)
    yield contrastive(one, other, temperature=0.3)
    yield contrastive(one, other, temperature=0.3, languages=GROUPS, same=torch.tensor([0, 1, 1, 3]))
    yield contrastive(one, other, temperature=0.3, direction="to_pivot", extra=one.flip(0))
    yield cosine(one, other)
    yield neuron_state(*shares, temperature=0.3, languages=GROUPS)


@pytest.mark.parametrize("number", range(5))
def test_gradients_are_those_of_finite_differences(number):
    inputs = LANGUAGE.clone().requires_grad_(), PIVOT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one, other: list(losses_of(one, other))[number], inputs)


def test_losses_are_blind_to_scale_and_order():
    order = torch.tensor([2, 0, 3, 1])
    for loss in (contrastive, cosine):
        plain = loss(LANGUAGE, PIVOT)
        assert torch.allclose(loss(3 * LANGUAGE, 0.1 * PIVOT), plain, rtol=1e-12)
        assert torch.allclose(loss(LANGUAGE[order], PIVOT[order]), plain, rtol=1e-12)


def test_contrastive_of_noise_is_the_logarithm_of_the_batch():
    torch.manual_seed(0)
    loss = contrastive(torch.randn(64, 4096), torch.randn(64, 4096), temperature=1.0)
    assert loss.item() == pytest.approx(np.log(64), abs=0.05)


def test_centring_takes_away_what_says_the_language():
    torch.manual_seed(0)
    meaning = torch.randn(4, 6, dtype=torch.float64)
    meaning = meaning - torch.cat([half.mean(0).repeat(2, 1) for half in (meaning[:2], meaning[2:])])
    shift = torch.randn(2, 6, dtype=torch.float64).repeat_interleave(2, 0)
    plain = contrastive(meaning, meaning, languages=GROUPS)
    assert torch.allclose(contrastive(meaning + 9 * shift, meaning, languages=GROUPS), plain)
    assert not torch.allclose(contrastive(meaning + 9 * shift, meaning), plain)


def test_smooth_state_becomes_the_state_that_is_measured():
    gate = torch.tensor([-1.0, -0.01, 0.01, 1.0])
    assert torch.equal(smooth_state(gate, sharpness=1e6), (gate > 0).float())
    assert smooth_state(gate)[3].item() == pytest.approx(1 / (1 + np.exp(-4)))
    assert smooth_state(gate.bfloat16()).dtype == torch.float32


def test_half_precision_is_compared_in_float32():
    loss = contrastive(LANGUAGE.bfloat16(), PIVOT.bfloat16())
    assert loss.dtype == torch.float32
    rounded = contrastive(LANGUAGE.bfloat16().double(), PIVOT.bfloat16().double())
    assert loss.item() == pytest.approx(rounded.item(), rel=1e-5)


def test_what_is_seen_in_a_batch():
    seen = in_batch(LANGUAGE, PIVOT)
    table = [
        [0.297432, -0.338349, 0.404419, 0.423861],
        [0.616098, -0.19994, 0.686297, 0.31358],
        [-0.221196, -0.62482, -0.069528, -0.508426],
        [0.407423, 0.391301, 0.351131, 0.582961],
    ]  # of the reference, pivot sentences in columns there: cos(language_j, pivot_i) = table[i][j]
    cosine_of = torch.tensor(table, dtype=torch.float64).T
    assert seen.positive.tolist() == pytest.approx(cosine_of.diagonal().tolist(), abs=1e-6)
    off = (cosine_of.sum(1) - cosine_of.diagonal()) / 3
    assert seen.negative.tolist() == pytest.approx(off.tolist(), abs=1e-6)
    assert seen.accuracy.tolist() == (cosine_of.argmax(1) == torch.arange(4)).double().tolist()
    shifted = in_batch(LANGUAGE + 9, PIVOT + 9, languages=GROUPS)
    assert shifted.negative.min() > 0.9  # a collapse is seen, though centring takes it out of accuracy
    assert torch.equal(shifted.accuracy, in_batch(LANGUAGE, PIVOT, languages=GROUPS).accuracy)
    same = in_batch(LANGUAGE, PIVOT, same=torch.zeros(4, dtype=torch.long))
    assert same.negative.tolist() == [0.0] * 4
    assert same.accuracy.tolist() == [0.0] * 4


def test_pairs_with_one_mark_in_common_are_no_negatives():
    marks = torch.tensor([[0, 4], [1, 5], [1, 6], [3, 6]])  # 1 and 2 share the first, 2 and 3 the second
    assert is_same(marks, marks).nonzero().tolist() == [
        *([0, 0], [1, 1], [1, 2], [2, 1], [2, 2], [2, 3], [3, 2], [3, 3])
    ]
    found = contrastive(LANGUAGE, PIVOT, temperature=0.2, direction="to_pivot", same=marks)
    scores = torch.nn.functional.cosine_similarity(LANGUAGE[:, None], PIVOT[None], dim=2) / 0.2
    kept = [[0, 1, 2, 3], [0, 1, 3], [0, 2], [0, 1, 3]]
    terms = [scores[i, kept[i]].logsumexp(0) - scores[i, i] for i in range(4)]
    assert found.item() == pytest.approx((sum(terms) / 4).item(), rel=1e-12)


def test_autocast_takes_no_precision_away():
    one, other = LANGUAGE.float(), PIVOT.float()
    plain = contrastive(one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (one @ other.T).dtype == torch.bfloat16
        assert contrastive(one, other) == plain


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contrastive(LANGUAGE, PIVOT, temperature=0.0), "temperature=0.0 must be above 0"),
        (lambda: contrastive(LANGUAGE, PIVOT, temperature=-1.0), "temperature=-1.0"),
        (lambda: contrastive(LANGUAGE, PIVOT, temperature=float("nan")), "temperature=nan"),
        (lambda: contrastive(LANGUAGE, PIVOT, direction="up"), "direction='up' must be one of to_pivot"),
        (lambda: contrastive(LANGUAGE[:1], PIVOT[:1]), "one pair, so there is no negative"),
        (lambda: contrastive(LANGUAGE, PIVOT[:3]), r"\(4, 6\) and \(3, 6\)"),
        (lambda: contrastive(LANGUAGE, PIVOT, direction="from_pivot", extra=PIVOT), "extra holds pivot"),
        (
            lambda: contrastive(LANGUAGE, PIVOT, languages=torch.tensor([0, 0, 0, 7])),
            "one pair of language 7",
        ),
        (lambda: cosine(LANGUAGE[:0], PIVOT[:0]), "no pair"),
        (lambda: neuron_state(LANGUAGE, PIVOT), "between 0 and 1; see smooth_state"),
        (lambda: smooth_state(LANGUAGE, sharpness=0), "sharpness=0 must be above 0"),
        (lambda: contrastive([[1.0]], PIVOT), "language must be a tensor of floating-point numbers"),
        (lambda: cosine(LANGUAGE, PIVOT.long()), "pivot must be a tensor of floating-point numbers"),
        (lambda: contrastive(LANGUAGE, PIVOT, same=torch.arange(3)), r"same has shape \(3,\).* per pair, 4"),
        (lambda: contrastive(LANGUAGE, PIVOT, languages=GROUPS[:2]), "languages has shape"),
        (lambda: contrastive(LANGUAGE, PIVOT, languages=PIVOT), "languages must be a tensor of whole"),
        (lambda: contrastive(LANGUAGE, PIVOT, extra=PIVOT[:, :3]), r"extra must be \[sentence, 6\]"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
