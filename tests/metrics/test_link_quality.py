"""Links against gold links: by hand, and what must hold."""

import pytest

from xalign.errors import ArgumentError
from xalign.metrics.link_quality import link_quality


def test_by_hand():
    links = [[(0, 0), (1, 1), (2, 2)], [(0, 1)]]
    sure, possible = [[(0, 0), (3, 3)], [(0, 0)]], [[(1, 1)], [(0, 1)]]
    found = link_quality(links, sure, possible)
    assert (found.precision, found.recall) == (3 / 4, 1 / 3)
    assert found.f1 == pytest.approx(2 * 3 / 4 / 3 / (3 / 4 + 1 / 3))
    assert found.error_rate == pytest.approx(1 - (1 + 3) / (4 + 3))
    assert (found.links, found.gold) == (4, 3)
    strict = link_quality(links, sure)
    assert strict.precision == 1 / 4
    assert strict.error_rate == pytest.approx(1 - strict.f1)


def test_limits():
    gold = [[(0, 0), (1, 1)], [(0, 0)]]
    assert link_quality(gold, gold).f1 == 1
    assert link_quality(gold, gold).error_rate == 0
    assert link_quality([[(5, 5)], []], gold).f1 == 0
    assert link_quality([one[::-1] for one in gold[::-1]], gold[::-1]) == link_quality(gold, gold)


@pytest.mark.parametrize(
    ("links", "sure", "possible", "said"),
    [
        ([[(0, 0)]], [], None, "1 pairs, sure of 0"),
        ([[(0, 0)]], [[(0, 0)]], [], "possible of 0"),
        ([[]], [[(0, 0)]], None, "0 links"),
        ([[(0, 0)]], [[]], None, "0 sure"),
    ],
)
def test_bad_input(links, sure, possible, said):
    with pytest.raises(ArgumentError, match=said):
        link_quality(links, sure, possible)
