"""Shared types and divergence: against scipy and sets, their limits and invariances."""

import random

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from xalign.errors import ArgumentError
from xalign.metrics.token_overlap import jensen_shannon, token_jaccard


def sides(seed):
    draw = random.Random(seed)
    return [
        [[draw.randint(low, low + 8) for _ in range(draw.randint(1, 9))] for _ in range(12)] for low in (0, 4)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_against_scipy(seed):
    one, other = sides(seed)
    counts = np.array(
        [[sum(row.count(token) for row in side) for token in range(13)] for side in (one, other)]
    )
    assert jensen_shannon(one, other) == pytest.approx(jensenshannon(*counts, base=2) ** 2, abs=1e-12)
    both = [sum(counts[0] * counts[1] > 0), sum(counts[0] + counts[1] > 0)]
    assert token_jaccard(one, other) == both[0] / both[1]
    assert 0 < jensen_shannon(one, other) < 1


def test_limits_and_invariances():
    one, other = sides(0)
    assert (token_jaccard(one, one), jensen_shannon(one, one[::-1])) == (1, 0)
    apart = [[f"x{token}" for token in row] for row in other]
    assert (token_jaccard(one, apart), jensen_shannon(one, apart)) == (0, 1)
    for function in (token_jaccard, jensen_shannon):
        assert function(one, other) == pytest.approx(function(other, one))
        assert function(one * 2, other) == pytest.approx(function(one, other))
        with pytest.raises(ArgumentError, match="no tokens"):
            function([[]], other)
