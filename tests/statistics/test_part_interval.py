import numpy as np
import pytest

from xalign.errors import ArgumentError
from xalign.statistics.documents import documents_of
from xalign.statistics.intervals import share_interval
from xalign.statistics.wilson import part_interval


def test_of_wholes_of_one_it_is_the_interval_of_shares():
    generator = np.random.default_rng(0)
    for n in (3, 40):
        values = generator.integers(0, 7, size=n) / 6
        assert part_interval(values, np.ones(n)) == pytest.approx(share_interval(values), abs=1e-12)
        documents = documents_of(tuple(str(row // 3) for row in range(n)))
        assert part_interval(values, np.ones(n), documents=documents) == pytest.approx(
            share_interval(values, documents=documents), abs=1e-12
        )


def test_sentences_without_a_whole_say_nothing():
    parts, wholes = np.array([0.5, 0.0, 1.0, 0.25]), np.array([1.0, 0.5, 1.0, 0.5])
    more = (np.concatenate([one, np.zeros(5)]) for one in (parts, wholes))
    assert part_interval(*more) == pytest.approx(part_interval(parts, wholes), abs=1e-12)
    assert part_interval(np.zeros(4), np.zeros(4)) == (None, None)


def test_against_a_bootstrap_of_the_ratio():
    generator = np.random.default_rng(1)
    wholes = generator.integers(0, 7, size=600) / 6
    parts = np.floor(generator.random(600) * (wholes * 6 + 1)) / 6
    drawn = generator.integers(0, 600, size=(4000, 600))
    expected = np.quantile(parts[drawn].sum(axis=1) / wholes[drawn].sum(axis=1), [0.025, 0.975])
    assert part_interval(parts, wholes) == pytest.approx(expected, abs=0.004)


def test_it_covers():
    """400 draws of 60 sentences, of which about half of the bits are 1, and .8 of these are kept."""
    generator, covered = np.random.default_rng(2), 0
    for _ in range(400):
        wholes = generator.binomial(6, generator.beta(1, 1, size=60))
        parts = generator.binomial(wholes, generator.beta(8, 2, size=60))
        low, high = part_interval(parts / 6, wholes / 6)
        covered += low <= 0.8 <= high
    assert covered >= 0.92 * 400


@pytest.mark.parametrize(
    ("parts", "wholes"), [([0.6], [0.5]), ([-0.1], [0.5]), ([0.5], [1.5]), ([0.5], [1, 1])]
)
def test_what_is_no_part(parts, wholes):
    with pytest.raises(ArgumentError, match="parts must be from 0"):
        part_interval(np.array(parts, dtype=float), np.array(wholes, dtype=float))
