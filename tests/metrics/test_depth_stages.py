"""Stages of depth: profiles read by eye, what leaves them as they are, and the edges."""

import pytest

from xalign.errors import ArgumentError
from xalign.metrics.depth_stages import STAGES, depth_stages


def lengths(of_languages, general):
    stages = depth_stages(of_languages, general)
    return None if stages is None else [len(stages[name]) for name in STAGES]


@pytest.mark.parametrize(
    ("of_languages", "general", "expected"),
    [
        # As the paper draws it: languages at both ends, general in the middle and at the very end.
        ([9, 8, 4, 1, 0, 0, 1, 3, 7, 9, 6], [1, 1, 3, 8, 9, 9, 8, 5, 2, 1, 6], [3, 5, 2, 1]),
        # General neurons do not rise again: no last stage.
        ([9, 5, 1, 0, 0, 6, 9], [1, 2, 8, 9, 8, 2, 1], [2, 3, 2, 0]),
        # They prevail from the first layer on.
        ([1, 1, 4, 9], [9, 9, 2, 1], [0, 2, 2, 0]),
        # One layer alone is no stage; the two after it are.
        ([9, 1, 9, 1, 1, 9], [1, 9, 1, 9, 9, 1], [3, 2, 1, 0]),
        # They prevail to the end without falling: only the first layers are apart.
        ([9, 9, 1, 1, 1], [1, 1, 5, 6, 7], [2, 3, 0, 0]),
        # A minimum within the first two layers of shared reasoning ends nothing.
        ([0, 0, 1, 2, 9], [4, 2, 3, 5, 7], [0, 4, 1, 0]),
        ([1, 9, 1, 9], [9, 1, 9, 1], None),
        ([1, 2, 3], [1, 2, 3], None),
    ],
)
def test_profiles(of_languages, general, expected):
    assert lengths(of_languages, general) == expected


def brute(of_languages, general):
    """The rule once more, by looking at every triple of boundaries."""
    n = len(general)
    s, g = ([count / sum(counts) for count in counts] for counts in (of_languages, general))
    runs = [at for at in range(n - 1) if g[at] > s[at] and g[at + 1] > s[at + 1]]
    if not runs:
        return None
    minima = [
        at
        for at in range(runs[0] + 2, n)
        if g[at] <= g[at - 1] and all(g[at] < g[later] for later in range(at + 1, min(at + 2, n)))
    ]
    turn = max(minima, default=n - 1)
    in_runs = {at for start in runs for at in (start, start + 1)}
    last = max(at for at in in_runs if at <= turn)
    return [runs[0], last + 1 - runs[0], turn - last, n - 1 - turn]


def test_every_small_profile():
    from itertools import product

    seen = set()
    for counts in product([0, 1, 3], repeat=6):
        of_languages, general = [*counts[:3], 2, 1], [2, 1, *counts[3:]]
        found = lengths(of_languages, general)
        assert found == brute(of_languages, general), (of_languages, general)
        seen.add(None if found is None else tuple(found))
        if found is not None:
            assert sum(found) == 5 and found[1] >= 2
    assert len(seen) > 8 and None in seen


def test_only_shares_count():
    of_languages, general = [9, 5, 1, 0, 0, 6, 9], [1, 2, 8, 9, 8, 2, 3]
    assert lengths([10 * one for one in of_languages], general) == lengths(of_languages, general)


@pytest.mark.parametrize(
    ("of_languages", "general"), [([1, 2], [1, 2, 3]), ([0, 0], [1, 2]), ([1, -1], [1, 2]), ([], [])]
)
def test_what_is_no_profile(of_languages, general):
    with pytest.raises(ArgumentError, match="per layer"):
        depth_stages(of_languages, general)
