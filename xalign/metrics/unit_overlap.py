"""Overlap of two sets of units, compared with that of two random sets of the same sizes."""

from collections.abc import Collection
from dataclasses import dataclass

from scipy.stats import hypergeom

from xalign.checks import whole_number
from xalign.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class UnitOverlap:
    """How many units two sets share.

    Attributes:
        shared: Their number.
        share: 2 · shared / (k + l), for sets of k and l units; for sets of the same size k, shared / k.
        chance: The share expected of random sets; k / d for sets of the same size k among d units.
        p: The probability that random sets of these sizes share at least as many (hypergeometric).
    """

    shared: int
    share: float
    chance: float
    p: float

    @property
    def times_chance(self) -> float:
        """The share as a multiple of chance. Unlike the share, it can be compared between widths."""
        return self.share / self.chance


def unit_overlap(one: Collection[int], two: Collection[int], width: int) -> UnitOverlap:
    """Compare two sets of units, however they were found.

    Args:
        one: The numbers of the units of one set, like those that carry tense in Spanish.
        two: Those of the other.
        width: How many units there are to choose from.

    Raises:
        ArgumentError: An empty set, a unit given twice, or one outside the width.

    Reference:
        Wang, Minervini and Ponti (2024), Probing the Emergence of Cross-lingual Alignment during LLM
        Training, which reports the share; chance and p are added here.

    Example:
        >>> found = unit_overlap([0, 1, 2, 3], [2, 3, 4, 5], width=16)
        >>> found.shared, found.share, found.chance, found.times_chance, round(found.p, 4)
        (2, 0.5, 0.25, 2.0, 0.2445)
    """
    width = whole_number("width", width, least=1)
    for name, units in (("one", one), ("two", two)):
        if not len(units) or len(set(units)) < len(units):
            raise ArgumentError(f"{name} holds {len(units)} units; give at least one, and each once")
        if min(units) < 0 or max(units) >= width:
            raise ArgumentError(
                f"{name} holds the units {min(units)} to {max(units)}; width={width} has 0 to {width - 1}"
            )
    shared, both = len(set(one) & set(two)), len(one) + len(two)
    chance = 2 * len(one) * len(two) / width / both
    p = float(hypergeom.sf(shared - 1, width, len(one), len(two)))
    return UnitOverlap(shared, 2 * shared / both, chance, p)
