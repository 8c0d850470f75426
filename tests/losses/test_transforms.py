"""Transforms of the states before a loss: definitions, gradients, masks, edges, and what is refused."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from xalign.errors import ArgumentError, ArgumentTypeError, XAlignError
from xalign.losses import TRANSFORMS
from xalign.losses.contrastive import contrastive
from xalign.losses.remove_subspace import remove_subspace
from xalign.losses.subtract_means import subtract_means
from xalign.losses.transform import Transform, resolve_transform

LANGUAGES = torch.tensor([0, 0, 1, 1, 1])
MASKS = {
    "language_mask": torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]]).bool(),
    "pivot_mask": torch.tensor([[1, 0], [1, 1], [1, 1], [0, 1], [1, 1]]).bool(),
}


def random(seed, *shape):
    return torch.from_numpy(RandomState(seed).randn(*shape))


def tokens():
    """The states of tokens of both sides, zero where they do not count, as training gives them."""
    shapes = {"language_mask": (0, 5, 3, 6), "pivot_mask": (1, 5, 2, 6)}
    return [random(*shapes[name]) * mask.unsqueeze(2) for name, mask in MASKS.items()]


def mean_of(states, mask):
    return np.stack([one[counted].mean(0) for one, counted in zip(states.numpy(), mask.numpy(), strict=True)])


def test_means_are_subtracted_per_language_and_from_the_pivot_as_a_whole():
    language, pivot = random(2, 5, 6), random(3, 5, 6)
    mine, theirs = subtract_means(language, pivot, languages=LANGUAGES)
    expected = language.numpy().copy()
    for rows in ([0, 1], [2, 3, 4]):
        expected[rows] -= expected[rows].mean(0)
    assert np.allclose(mine.numpy(), expected)
    assert np.allclose(theirs.numpy(), pivot.numpy() - pivot.numpy().mean(0))


def test_means_of_tokens_count_each_sentence_once():
    language, pivot = tokens()
    mine, theirs = subtract_means(language, pivot, languages=LANGUAGES, **MASKS)
    means = mean_of(language, MASKS["language_mask"])
    for row, group in enumerate(([0, 1], [0, 1], [2, 3, 4], [2, 3, 4], [2, 3, 4])):
        counted = MASKS["language_mask"][row]
        expected = language[row][counted].numpy() - means[group].mean(0)
        assert np.allclose(mine[row][counted].numpy(), expected)
    assert not mine[~MASKS["language_mask"]].any()
    assert not theirs[~MASKS["pivot_mask"]].any()
    assert np.allclose(mean_of(theirs, MASKS["pivot_mask"]).mean(0), 0)


def test_what_a_loss_that_centres_does_by_itself():
    language, pivot = random(2, 5, 6), random(3, 5, 6)
    plain = contrastive(*subtract_means(language, pivot, languages=LANGUAGES))
    assert plain.item() == pytest.approx(contrastive(language, pivot, languages=LANGUAGES).item())


@pytest.mark.parametrize("of_tokens", [False, True])
def test_the_mean_differences_are_removed_and_nothing_else(of_tokens):
    language, pivot = tokens() if of_tokens else (random(2, 5, 6), random(3, 5, 6))
    masks = MASKS if of_tokens else {}
    sides = language, pivot
    mine, theirs = map(mean_of, sides, MASKS.values()) if of_tokens else (side.numpy() for side in sides)
    difference = mine - theirs
    directions = np.stack([difference[:2].mean(0), difference[2:].mean(0)])
    onto_rest = np.eye(6) - np.linalg.pinv(directions) @ directions
    for found, given in zip(
        remove_subspace(language, pivot, languages=LANGUAGES, **masks), (language, pivot), strict=True
    ):
        assert np.allclose(found.numpy(), given.numpy() @ onto_rest)
        assert np.allclose(found.numpy() @ directions.T, 0)
    first = remove_subspace(language, pivot, languages=LANGUAGES, **masks)
    again = remove_subspace(*first, languages=LANGUAGES, **masks)
    assert torch.allclose(again[0], first[0])  # what is left has no such differences
    # With rank 1, the one direction that explains most of both.
    _, _, found = np.linalg.svd(directions, full_matrices=False)
    one = remove_subspace(language, pivot, languages=LANGUAGES, **masks, rank=1)[0].numpy()
    assert np.allclose(one, language.numpy() - language.numpy() @ np.outer(found[0], found[0]))


def test_gradients():
    language, pivot = (side.requires_grad_() for side in (random(2, 5, 6), random(3, 5, 6)))
    assert torch.autograd.gradcheck(partial(subtract_means, languages=LANGUAGES), (language, pivot))
    sides = [side.requires_grad_() for side in tokens()]
    assert torch.autograd.gradcheck(partial(subtract_means, languages=LANGUAGES, **MASKS), tuple(sides))
    # The directions have none: the gradient is that of a projection that stays.
    found = remove_subspace(language, pivot, languages=LANGUAGES)
    weights = random(4, 5, 6)
    (found[0] * weights).sum().backward()
    difference = (language - pivot).detach().numpy()
    directions = np.stack([difference[:2].mean(0), difference[2:].mean(0)])
    onto_rest = np.eye(6) - np.linalg.pinv(directions) @ directions
    assert np.allclose(language.grad.numpy(), weights.numpy() @ onto_rest)
    assert pivot.grad is None


@pytest.mark.parametrize("number", [0.1, 7.3, 1e30])
def test_nothing_is_left_of_equal_sentences_and_of_states_within_the_subspace(number):
    equal = (number * torch.randn(1, 64, generator=torch.Generator().manual_seed(0))).repeat(7, 1)
    pivot = number * torch.randn(7, 64, generator=torch.Generator().manual_seed(1))
    one = torch.zeros(7, dtype=torch.long)
    assert not subtract_means(equal, pivot, languages=one)[0].any()
    assert not subtract_means(equal, equal, languages=one)[1].any()
    direction = equal[0] / equal[0].norm()
    on_it = torch.arange(1.0, 8).unsqueeze(1) * direction
    assert not remove_subspace(on_it, torch.zeros(7, 64), languages=one)[0].any()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_half_precision_autocast_and_states_that_are_not_finite(name):
    transform = partial(TRANSFORMS[name].fn, languages=LANGUAGES)
    language, pivot = random(2, 5, 6).float(), random(3, 5, 6).float()
    plain = transform(language, pivot)
    for half, full in zip(transform(language.half(), pivot.half()), plain, strict=True):
        assert half.dtype == torch.float32
        assert torch.allclose(half, full, atol=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, transform(language, pivot), plain))
    language[1, 1] = torch.nan
    assert transform(language, pivot)[0].isnan().any()


def halved(language, pivot, **options):
    return language / 2, pivot / 2


def test_names_objects_and_functions():
    own = Transform("halved", halved, needs_groups=True)
    assert resolve_transform(own, TRANSFORMS) is own
    assert resolve_transform("subtract_means", TRANSFORMS) is TRANSFORMS["subtract_means"]
    wrapped = resolve_transform(halved, TRANSFORMS)
    assert (wrapped.name, wrapped.fn, wrapped.needs_groups) == ("halved", halved, False)
    assert {name: one.needs_groups for name, one in TRANSFORMS.items()} == {
        "subtract_means": True,
        "remove_subspace": False,
    }


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Transform("", halved), ArgumentTypeError, "name='' must be a name, like 'subtract_means'"),
        (lambda: Transform("own", "halved"), ArgumentTypeError, "fn='halved' must be a function"),
        (lambda: Transform("own", lambda one: one), ArgumentTypeError, "fn=.* must be a function"),
        (
            lambda: resolve_transform("whiten", TRANSFORMS),
            ArgumentError,
            "transform='whiten' must be one of subtract_means, remove_subspace, or a Transform or a function",
        ),
        (lambda: resolve_transform(5, TRANSFORMS), ArgumentTypeError, "transform=5 must be one of"),
        (lambda: resolve_transform(Transform, TRANSFORMS), ArgumentTypeError, "transform=<class"),
        (
            lambda: subtract_means(torch.ones(3, 2), torch.ones(3, 2), languages=torch.tensor([0, 0, 7])),
            ArgumentError,
            "languages has one pair of language 7; subtract_means needs at least 2",
        ),
        (
            lambda: remove_subspace(random(0, 5, 2), random(1, 5, 2), languages=LANGUAGES),
            ArgumentError,
            "differences of 2 languages span all 2 coordinates, so that nothing would be left; give rank=",
        ),
        (
            lambda: remove_subspace(random(0, 5, 6), random(1, 5, 6), languages=LANGUAGES, rank=0),
            ArgumentError,
            "rank=0 must be at least 1",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    assert issubclass(error, XAlignError)
    with pytest.raises(error, match=message):
        call()
