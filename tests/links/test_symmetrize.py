"""Symmetrization: by hand, and what holds for any links."""

import random

import pytest

from xalign.errors import ArgumentError
from xalign.links.symmetrize import SYMMETRIZATIONS, symmetrize

#     0 1 2 3   forward f, backward b, both *
# 0   * f . .
# 1   b . . .
# 2   . . . f
# 3   . . b f
FORWARD = [(0, 0), (0, 1), (2, 3), (3, 3)]
BACKWARD = [(0, 0), (1, 0), (3, 2)]


@pytest.mark.parametrize(
    ("how", "links"),
    [
        ("intersection", [(0, 0)]),
        ("union", [(0, 0), (0, 1), (1, 0), (2, 3), (3, 2), (3, 3)]),
        ("grow_diag", [(0, 0), (0, 1), (1, 0)]),
        # Then (2, 3) of forward, which takes column 3 from (3, 3), and (3, 2) of backward.
        ("grow_diag_final_and", [(0, 0), (0, 1), (1, 0), (2, 3), (3, 2)]),
    ],
)
def test_by_hand(how, links):
    assert symmetrize([FORWARD], [BACKWARD], how) == [links]


def test_growth_goes_on_from_what_grew():
    assert symmetrize([[(0, 0), (1, 1), (2, 2)]], [[(0, 0)]], "grow_diag") == [[(0, 0), (1, 1), (2, 2)]]
    # (1, 1) would link two tokens that both have a link.
    assert (1, 1) not in symmetrize([[(0, 1), (1, 0), (1, 1)]], [[(0, 1), (1, 0)]], "grow_diag")[0]


@pytest.mark.parametrize("seed", range(20))
def test_what_holds_for_any_links(seed):
    draw = random.Random(seed)
    forward = [(draw.randrange(6), other) for other in range(6) if draw.random() < 0.8]
    backward = [(one, draw.randrange(6)) for one in range(6) if draw.random() < 0.8]
    found = {how: set(symmetrize([forward], [backward], how)[0]) for how in SYMMETRIZATIONS}
    assert found["intersection"] <= found["grow_diag"] <= found["grow_diag_final_and"] <= found["union"]
    linked = found["grow_diag_final_and"]
    for one, other in found["union"] - linked:  # what was left out would link two linked tokens
        assert any(one == here for here, _ in linked) or any(other == there for _, there in linked)
    for how in ("intersection", "union"):
        turned = symmetrize(*[[[(b, a) for a, b in side]] for side in (backward, forward)], how)[0]
        assert {(a, b) for b, a in turned} == found[how]


def test_bad_input():
    with pytest.raises(ArgumentError, match="must be one of intersection, union"):
        symmetrize([[]], [[]], "grow-diag")
    with pytest.raises(ArgumentError, match="1 pairs, the other of 0"):
        symmetrize([[]], [])
