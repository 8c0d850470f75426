"""Losses and gradients are finite and within a stated bound, whatever finite vectors a batch holds."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xalign.errors import ArgumentError
from xalign.losses import LOSSES
from xalign.losses.contrastive import contrastive
from xalign.losses.cosine import cosine
from xalign.losses.direction import LOWEST_TEMPERATURE, SHORTEST
from xalign.losses.neuron_state import smooth_state

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
MANY = [60, pytest.param(10_000, marks=pytest.mark.slow)]
ROWS = ["zero", "denormal", "short", "small", "usual", "large", "largest", "ones", "repeated"]


def side(draw, n, width, dtype):
    """Vectors of every size that a dtype holds, some of them equal."""
    limits = torch.finfo(dtype)
    sizes = {
        "zero": 0.0,
        "denormal": limits.smallest_normal * limits.eps * 8,
        "short": 2 * max(SHORTEST, limits.smallest_normal),
        "small": 1e-3,
        "usual": 1.0,
        "large": 1e3,
        "largest": limits.max / 16,  # sums of a few stay in float64, in which the bounds are computed
    }
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rows = []
    for kind in draw(st.lists(st.sampled_from(ROWS), min_size=n, max_size=n)):
        if kind == "repeated" and rows:
            rows.append(rows[0])
        elif kind in sizes:
            random = 2 * torch.rand(width, generator=generator, dtype=torch.float64) - 1
            rows.append(random * sizes[kind])
        else:
            rows.append(torch.ones(width, dtype=torch.float64))
    return torch.stack(rows).to(dtype)


@st.composite
def batches(draw):
    n, width, dtype = draw(st.integers(2, 6)), draw(st.integers(1, 8)), draw(st.sampled_from(DTYPES))
    options = {"temperature": draw(st.floats(LOWEST_TEMPERATURE, 1e4))}
    options["direction"] = draw(st.sampled_from(["to_pivot", "from_pivot", "both"]))
    groups = [[0] * n] + ([[0, 0, *[1] * (n - 2)]] if n > 3 else [])
    options["languages"] = draw(st.sampled_from([None, *map(torch.tensor, groups)]))
    options["same"] = draw(st.sampled_from([None, torch.arange(n) // 2, torch.zeros(n, dtype=torch.long)]))
    return side(draw, n, width, dtype), side(draw, n, width, dtype), options


def lengths_of(vectors):
    """Their lengths in float64, also of vectors of which the squares overflow or underflow."""
    largest = vectors.double().abs().amax(dim=1, keepdim=True)
    return (largest * (vectors.double() / largest.where(largest > 0, 1.0)).norm(dim=1, keepdim=True))[:, 0]


def longest_gradients(vectors, groups, temperature, dtype):
    """The bound on the gradient of each vector, as `xalign.losses.contrastive` states it."""
    shortest = max(SHORTEST, 2 / (temperature * torch.finfo(dtype).max))
    if groups is None:
        lengths = lengths_of(vectors)
        return torch.where(lengths > shortest, 1 / temperature / lengths, 0.0)
    vectors = vectors.double()
    means = torch.stack([vectors[groups == group].mean(dim=0) for group in groups])
    left = lengths_of(vectors - means)
    eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    rounding = int(groups.bincount().max()) * eps * lengths_of(vectors).max()
    # What is left is known up to half of the rounding, and has a direction if it is above the rounding.
    found = left[(left > 0.49 * rounding) & (left > 0.99 * shortest)]
    longest = 2 / temperature / max(found.min() - rounding / 2, rounding, shortest) if len(found) else 0.0
    return torch.full((len(vectors),), float(longest), dtype=torch.float64)


def gradients_within(found, bounds):
    # A gradient is rounded to the dtype of its vector: relatively by eps, and absolutely near 0, in a few
    # steps each.
    limits = torch.finfo(found.dtype)
    near_zero = 4 * found.shape[1] * limits.smallest_normal * limits.eps
    return bool((lengths_of(found) <= (1.001 + 4 * limits.eps) * bounds + near_zero).all())


def contrast(sides, options, extra=0.0):
    """The bounds of the contrastive loss, of which the cosine and the hinge loss have special cases."""
    temperature, groups = options.get("temperature", 1.0), options.get("languages")
    groups = groups, None if groups is None else torch.zeros_like(groups)
    each = [
        longest_gradients(side, of, temperature, side.dtype) for side, of in zip(sides, groups, strict=True)
    ]
    return (2 + extra) / temperature + math.log(len(sides[0])), each


def differences(sides, options):
    """The bounds of the mean squared error, whose pivot stays."""
    apart = sides[0].double() - sides[1].double()
    return apart.square().mean().item(), [2 / apart.numel() * lengths_of(apart), None]


def similarities(sides, options):
    """The bound of CKA on the gradient of all rows together, and so on that of each."""
    if "language_mask" not in options:
        return 1.0, [of_gram(side).expand(len(side)) for side in sides]
    both = options["language_mask"] & options["pivot_mask"]
    return 1.0, [of_gram(side[both]) * both for side in sides]


def of_gram(rows):
    """2 / r, r being the longest row once the mean is subtracted; 0 where nothing but rounding is left."""
    double = rows.double()
    eps = torch.finfo(torch.promote_types(rows.dtype, torch.float32)).eps
    rounding = len(rows) * eps * lengths_of(rows).max()
    longest = lengths_of(double - double.mean(dim=0)).max()
    shortest = max(SHORTEST, 2 / torch.finfo(rows.dtype).max)
    least = torch.clamp(rounding, min=shortest)
    bound = 2 / torch.maximum(longest - rounding / 2, least)
    return torch.where((longest > 0.49 * rounding) & (longest > 0.99 * shortest), bound, 0.0)


def plans(sides, options):
    """The bounds of transport, per token."""
    found = []
    for name, side in zip(("language_mask", "pivot_mask"), sides, strict=True):
        mask = options[name]
        share = (1 / mask.sum(dim=1, keepdim=True) + 0.01) * mask / len(side)
        found.append(share * longest_gradients(side.flatten(0, 1), None, 1.0, side.dtype).view(mask.shape))
    return 2.0, found


def words(sides, options):
    """The bounds of the word-level loss: of its links, and of the drift of the pivot's words."""
    pairs, first, second = options["links"].T
    apart = sides[0].double()[pairs, first] - sides[1].double()[pairs, second]
    mask = options["pivot_mask"]
    moved = (sides[1].double() - options["start"].double()) * mask.unsqueeze(-1)
    width = apart.shape[1]
    of_links = [torch.zeros(side.shape[:2], dtype=torch.float64) for side in sides]
    for found, numbers in zip(of_links, (first, second), strict=True):
        found[pairs, numbers] = 2 / apart.numel() * lengths_of(apart)
    of_drift = 2 / (mask.sum() * width) * moved.norm(dim=-1)
    value = apart.square().mean() + moved.square().sum() / (mask.sum() * width)
    return value.item(), [of_links[0], of_links[1] + of_drift]


BOUNDS = {
    "contrastive": contrast,
    "cosine": contrast,
    "neuron_state": contrast,
    "additive_margin": lambda sides, options: contrast(sides, options, extra=0.3),
    "hinge": lambda sides, options: contrast(sides, options, extra=0.2),
    "mse": differences,
    "cka": similarities,
    "token_cka": similarities,
    "transport": plans,
    "word_level": words,
}
"""Per loss, what its docstring or its module states: the largest value, and the longest gradients."""


def test_every_loss_states_its_bounds():
    assert BOUNDS.keys() == LOSSES.keys()


def as_tokens(side, counts):
    """The same vectors as sentences of two tokens, of which the first always counts."""
    width = side.shape[1] // 2
    return side[:, : 2 * width].reshape(len(side), 2, width), torch.tensor(
        [[True, one] for one in counts[: len(side)]]
    )


@pytest.mark.parametrize("examples", MANY)
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_its_gradients_are_within_their_bounds(name, examples):
    """Zero vectors had gradients of 1e12, equal ones 1e7 times the usual, and long ones overflowed to 0."""
    loss = LOSSES[name]

    @settings(max_examples=examples)
    @given(batches(), st.lists(st.booleans(), min_size=12, max_size=12))
    def check(batch, counts):
        language, pivot, options = batch
        options = {option: value for option, value in options.items() if option in loss.options}
        sides = [loss.state(one) if loss.needs_shares else one for one in (language, pivot)]
        if loss.level != "pair":
            assume(language.shape[1] > 1)
            (mine, my_mask), (theirs, their_mask) = (
                as_tokens(sides[0], counts),
                as_tokens(sides[1], counts[6:]),
            )
            sides, options = [mine, theirs], options | {"language_mask": my_mask, "pivot_mask": their_mask}
            options.pop("temperature", None)  # of a contrast; a plan at 1e-4 may not converge
        if name in ("mse", "word_level"):  # their squares overflow beyond
            most = min(1e18, torch.finfo(language.dtype).max)
            sides = [side.clamp(-most, most) for side in sides]
        if loss.needs_links:
            options["links"] = torch.tensor([[pair, 0, 0] for pair in range(len(language))])
            options["start"] = sides[0].flip(0)
        sides = [one.clone().requires_grad_() for one in sides]
        value = loss.fn(*sides, **options)
        most, bounds = BOUNDS[name]([one.detach() for one in sides], options)
        assert -1e-6 <= value.item() <= most * (1 + 1e-5) + 1e-6
        value.backward()
        for one, bound in zip(sides, bounds, strict=True):
            if bound is None:
                assert one.grad is None
                continue
            assert bool(one.grad.isfinite().all())
            assert gradients_within(one.grad.flatten(0, -2), bound.flatten())

    check()


@pytest.mark.parametrize("examples", MANY)
def test_gradients_of_gates_are_bounded_by_those_of_their_states(examples):
    """A gate of ±65504 in float16 or of the largest float32 gave no NaN only by luck of the sigmoid."""

    @settings(max_examples=examples)
    @given(batches())
    def check(batch):
        gates, _, _ = batch
        gates = gates.clone().requires_grad_()
        states = smooth_state(gates)
        upstream = torch.randn(states.shape, generator=torch.Generator().manual_seed(0), dtype=states.dtype)
        states.backward(upstream)
        assert bool(((states >= 0) & (states <= 1)).all())
        assert bool((gates.grad.double().abs() <= 1.01 * upstream.double().abs() + 1e-6).all())

    check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_vectors_pull_at_nothing(dtype):
    """One sentence of zeros had a gradient 1e12 times as long as the others', which was the whole step."""
    torch.manual_seed(0)
    language, pivot = torch.randn(6, 16).to(dtype), torch.randn(6, 16).to(dtype)
    language[2] = 0
    for loss in (contrastive, cosine):
        sides = language.clone().requires_grad_(), pivot.clone().requires_grad_()
        loss(*sides).backward()
        assert not sides[0].grad[2].any()
        assert sides[0].grad[[0, 1, 3, 4, 5]].any(dim=1).all()


@pytest.mark.parametrize("number", [0.1, 7.3, 1e-3, 1e4, 1e30])
def test_equal_sentences_of_a_language_have_no_direction_once_their_mean_is_subtracted(number):
    """What was left was the rounding of the mean; it got a gradient 1e5 and more times as long as usual."""
    torch.manual_seed(0)
    repeated = (number * torch.randn(1, 64)).repeat(7, 1)
    language = torch.cat([repeated, number * torch.randn(7, 64)]).requires_grad_()
    pivot = (number * torch.randn(14, 64)).requires_grad_()
    contrastive(language, pivot, languages=torch.arange(14) // 7).backward()
    assert not language.grad[:7].any()
    usual = lengths_of(language.grad[7:])
    assert 0 < usual.min() < usual.max() < 3 / (0.05 * number)


@pytest.mark.parametrize("size", [1e-11, 1e-6, 1e18, 1e30, 3e37])
def test_losses_do_not_depend_on_the_length_of_vectors_however_long(size):
    """Norms of long float32 vectors overflowed: their cosines became 0, and the loss its value at random."""
    torch.manual_seed(0)
    language, pivot = torch.randn(8, 16), torch.randn(8, 16)
    groups = torch.arange(8) // 4
    for loss in (contrastive, cosine, lambda *sides: contrastive(*sides, languages=groups)):
        assert torch.allclose(loss(language * size, pivot * size), loss(language, pivot), rtol=1e-4)


@pytest.mark.parametrize("temperature", [1e-30, 1e-9, 9e-5, math.inf, math.nan, 0.0, -1.0])
def test_temperatures_that_say_nothing_are_refused(temperature):
    """1e-30 gave a loss of inf, and inf a loss without a gradient."""
    with pytest.raises(ArgumentError, match=r"temperature="):
        contrastive(torch.eye(4), torch.eye(4).flip(0), temperature=temperature)


def test_states_that_are_not_finite_are_seen():
    """A NaN must never pass for a vector without a direction."""
    for bad in (math.nan, math.inf):
        language = torch.eye(4)
        language[1, 1] = bad
        for loss in (contrastive, cosine, lambda *s: contrastive(*s, languages=torch.zeros(4, dtype=int))):
            assert bool(loss(language, torch.eye(4)).isnan())
