"""Batches that are cheapest: padding against what a batch costs beside its tokens."""

import itertools
import random

import pytest

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.batches import make_batches


def lines_of(lengths):
    return [
        (tuple(range(number, number + length)), (True,) * length) for number, length in enumerate(lengths)
    ]


def cheapest(lengths, per_batch, fits):
    """By trying every way to cut lines whose lengths fall."""
    lengths, costs = sorted(lengths, reverse=True), []
    for cuts in itertools.product((False, True), repeat=len(lengths) - 1):
        places = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), len(lengths)]
        shapes = [(end - start, lengths[start]) for start, end in itertools.pairwise(places)]
        if all(fits(*shape) for shape in shapes):
            costs.append(sum(count * longest + per_batch for count, longest in shapes))
    return min(costs)


@pytest.mark.parametrize("per_batch", [0, 3, 20, 1000])
@pytest.mark.parametrize("limits", [{}, {"size": 3}, {"token_budget": 40}, {"size": 4, "token_budget": 60}])
@pytest.mark.parametrize("seed", range(5))
def test_they_are_as_cheap_as_any(per_batch, limits, seed):
    draw = random.Random(seed)
    lengths = [draw.choice([2, 3, 5, 8, 13, 21]) for _ in range(10)]

    def fits(count, longest):
        small = count * longest <= limits.get("token_budget", 10**6) or count == 1
        return small and count <= limits.get("size", 10**6)

    batches = make_batches(lines_of(lengths), pad_id=0, per_batch=per_batch, **limits)
    shapes = [batch.shape for batch in batches]
    assert all(fits(*shape) for shape in shapes)
    found = sum(count * longest + per_batch for count, longest in shapes)
    assert found == cheapest(lengths, per_batch, fits)
    assert sorted(row for batch in batches for rows in batch.rows for row in rows) == list(range(10))


def test_without_a_cost_all_that_fit_go_together():
    shapes = [one.shape for one in make_batches(lines_of([9, 2, 2, 1]), pad_id=0)]
    assert shapes == [(4, 9)]
    assert [one.shape for one in make_batches(lines_of([9, 2, 2, 1]), pad_id=0, per_batch=0)] == [
        (1, 9),
        (2, 2),
        (1, 1),
    ]


def test_what_is_no_cost_is_refused():
    with pytest.raises(ArgumentError, match="per_batch=-1"):
        make_batches(lines_of([2]), pad_id=0, per_batch=-1)
    with pytest.raises(ArgumentTypeError, match="per_batch="):
        make_batches(lines_of([2]), pad_id=0, per_batch=1.5)
