"""Word-level adjustment: reference values, links, words of several tokens, finite differences, bad links."""

from functools import partial

import pytest
import torch
from numpy.random import RandomState

from xalign.errors import XAlignError
from xalign.losses.word_level import drift, linked_distance, word_level, word_means


def random(seed, *shape):
    return torch.from_numpy(RandomState(seed).randn(*shape))


def ones(states):
    return torch.ones(states.shape[:2], dtype=torch.bool)


def test_reference_values():
    foreign, english = random(50, 1, 6, 4), random(51, 1, 6, 4)
    start, now = random(52, 1, 9, 4), random(53, 1, 9, 4)
    links = torch.tensor([[0, word, word] for word in range(6)])
    masks = {"language_mask": ones(foreign), "pivot_mask": ones(english)}
    distance = linked_distance(foreign, english, links, **masks).item()
    assert distance == pytest.approx(2.975504274074782, rel=1e-12)
    assert drift(now, start, ones(now)).item() == pytest.approx(2.688322237276834, rel=1e-12)
    # Both terms in one call: the first six of the nine words are linked.
    linked = now.clone()
    linked[0, :6] = english[0]
    masks = {"language_mask": ones(foreign), "pivot_mask": ones(linked)}
    kept = linked - (now - start)
    total = word_level(foreign, linked, links, start=kept, **masks).item()
    assert total == pytest.approx(5.6638265113516155, rel=1e-12)
    half = word_level(foreign, linked, links, start=kept, weight=0.5, **masks).item()
    assert half == pytest.approx(2.975504274074782 + 2.688322237276834 / 2, rel=1e-12)


LANGUAGE, PIVOT, START = random(0, 2, 4, 3), random(1, 2, 5, 3), random(2, 2, 5, 3)
MASKS = {
    "language_mask": torch.tensor([[True] * 4, [True, True, False, False]]),
    "pivot_mask": torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
}
LINKS = torch.tensor([[0, 3, 0], [1, 0, 2], [0, 1, 1], [0, 3, 4]])


def test_links_of_many_pairs_and_words_that_do_not_count():
    expected = torch.stack([(LANGUAGE[p, i] - PIVOT[p, j]).square() for p, i, j in LINKS.tolist()]).mean()
    found = linked_distance(LANGUAGE, PIVOT, LINKS, **MASKS)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    rows = torch.cat([(PIVOT - START)[0], (PIVOT - START)[1, :3]])
    assert drift(PIVOT, START, MASKS["pivot_mask"]).item() == pytest.approx(rows.square().mean().item())
    other = PIVOT.clone()
    other[1, 3:] = 99
    assert word_level(LANGUAGE, other, LINKS, start=START, **MASKS) == word_level(
        LANGUAGE, PIVOT, LINKS, start=START, **MASKS
    )


def test_gradients_are_those_of_finite_differences_and_the_start_has_none():
    sides = LANGUAGE.clone().requires_grad_(), PIVOT.clone().requires_grad_()
    loss = partial(word_level, links=LINKS, start=START, weight=0.3, **MASKS)
    assert torch.autograd.gradcheck(lambda language, pivot: loss(language, pivot), sides)
    start = START.clone().requires_grad_()
    word_level(*sides, LINKS, start=start, **MASKS).backward()
    assert start.grad is None


def test_words_are_means_of_their_tokens():
    tokens = random(3, 2, 5, 4)
    words = torch.tensor([[-1, 0, 0, 1, -1], [0, 1, 1, 1, 2]])
    means, mask = word_means(tokens, words)
    assert mask.tolist() == [[True, True, False], [True, True, True]]
    assert torch.allclose(means[0, 0], tokens[0, 1:3].mean(0))
    assert torch.allclose(means[0, 1], tokens[0, 3])
    assert not means[0, 2].any()
    assert torch.allclose(means[1, 1], tokens[1, 1:4].mean(0))
    assert word_means(tokens.half(), words)[0].dtype == torch.float32
    inputs = tokens.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: word_means(values, words)[0], (inputs,))


def called(links, **changes):
    given = {"language": LANGUAGE, "pivot": PIVOT, "start": START, **MASKS} | changes
    return word_level(given.pop("language"), given.pop("pivot"), links, **given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: called(torch.tensor([[0, 1, 1], [0, 4, 0]])),
            r"\(0, 4, 0\), .* word 4 .* language side; are",
        ),
        (lambda: called(torch.tensor([[0, 1, 5]])), r"no pair 0 with a word 5 that counts on the pivot side"),
        (lambda: called(torch.tensor([[1, 2, 0]])), r"no pair 1 with a word 2 that counts on the language"),
        (lambda: called(torch.tensor([[1, 0, 3]])), r"no pair 1 with a word 3 that counts on the pivot"),
        (lambda: called(torch.tensor([[2, 0, 0]])), r"no pair 2 with a word 0"),
        (lambda: called(torch.tensor([[-1, 0, 0]])), r"no pair -1 with a word 0"),
        (lambda: called(torch.tensor([[0, -1, 0]])), r"no pair 0 with a word -1"),
        (
            lambda: called(torch.zeros(0, 3, dtype=torch.long)),
            r"links has shape \(0, 3\).* at least one link",
        ),
        (lambda: called(torch.tensor([[0, 1]])), r"links has shape \(1, 2\).* \(pair, word, pivot word\)"),
        (lambda: called(torch.tensor([[0.0, 1.0, 1.0]])), "links must be a tensor of whole numbers"),
        (lambda: called(LINKS, weight=-1.0), "weight=-1.0 must be 0 or above 0"),
        (lambda: called(LINKS, start=START[:1]), r"they are \(2, 5, 3\) and \(1, 5, 3\)"),
        (lambda: word_means(LANGUAGE, torch.zeros(2, 3, dtype=torch.long)), r"words has shape \(2, 3\)"),
        (lambda: word_means(LANGUAGE, torch.tensor([[0] * 4, [-1] * 4])), "words: sentence 1 has no token"),
        (lambda: word_means(LANGUAGE, torch.tensor([[0, 0, 2, 2], [0, 1, 1, 1]])), "from 0 without gaps"),
        (lambda: word_means(LANGUAGE, torch.ones(2, 4)), "words must be a tensor of whole numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
