"""`Cells`: all pairs of a source and a target position of a corpus, in flat arrays."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

Sentence = Sequence[Hashable]
"""A sentence as tokens: ids or strings."""


@dataclass(frozen=True)
class Cells:
    """A corpus as cells: a cell is a source position and a target position of one pair of sentences.

    Cells are sorted by pair, then by target position, then by source position. So the cells of a target token
    stand together.

    Attributes:
        target: Per target token, the number of its type.
        pair: Per target token, the number of its pair.
        sizes: Per target token, how many cells it has: the length of its source sentence.
        type_pair: Per cell, the number of its pair of types.
        source_of: Per pair of types, the number of its source type.
        target_of: Per pair of types, the number of its target type.
        distance: Per cell, how far the two positions are from the diagonal, in [0, 1).
        vocabulary: The number of source types, and that of target types.
    """

    target: Int[np.ndarray, " token"]
    pair: Int[np.ndarray, " token"]
    sizes: Int[np.ndarray, " token"]
    type_pair: Int[np.ndarray, " cell"]
    source_of: Int[np.ndarray, " type_pair"]
    target_of: Int[np.ndarray, " type_pair"]
    distance: Float[np.ndarray, " cell"]
    vocabulary: tuple[int, int]

    @classmethod
    def of(cls, sources: Sequence[Sentence], targets: Sequence[Sentence]) -> "Cells":
        """Give each type a number, and lay out the cells.

        Example:
            >>> cells = Cells.of([["the", "house"]], [["das", "Haus"]])
            >>> cells.type_pair.tolist(), cells.distance.tolist()
            ([0, 2, 1, 3], [0.0, 0.5, 0.5, 0.0])
        """
        left, source_types = _numbered(sources)
        right, target_types = _numbered(targets)
        pairs = list(zip(left, right, strict=True))
        keys = np.concatenate([(one * target_types + two[:, None]).ravel() for one, two in pairs])
        known, type_pair = np.unique(keys, return_inverse=True)
        lengths = np.array([len(two) for two in right])
        return cls(
            target=np.concatenate(right),
            pair=np.repeat(np.arange(len(pairs)), lengths),
            sizes=np.repeat([len(one) for one in left], lengths),
            type_pair=type_pair.astype(np.int32),
            source_of=known // target_types,
            target_of=known % target_types,
            distance=np.concatenate([_distances(len(one), len(two)) for one, two in pairs]),
            vocabulary=(source_types, target_types),
        )

    @cached_property
    def starts(self) -> Int[np.ndarray, " token"]:
        """Per target token, the number of its first cell."""
        starts: Int[np.ndarray, " token"] = np.cumsum(self.sizes) - self.sizes
        return starts

    def sum(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " token"]:
        """Add up the cells of each target token."""
        return np.add.reduceat(values, self.starts)

    def largest(self, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " token"]:
        """Return the largest value among the cells of each target token."""
        return np.maximum.reduceat(values, self.starts)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Repeat a value of each target token for all of its cells."""
        return np.repeat(values, self.sizes)


def _numbered(sentences: Sequence[Sentence]) -> tuple[list[Int[np.ndarray, " token"]], int]:
    """Return the numbers of the types of each sentence, and how many types there are."""
    numbers: dict[Hashable, int] = {}
    rows = [
        np.array([numbers.setdefault(token, len(numbers)) for token in sentence], dtype=np.int64)
        for sentence in sentences
    ]
    return rows, len(numbers)


def _distances(source: int, target: int) -> Float[np.ndarray, " cell"]:
    """Return |i / source − j / target| between the middles of positions, exactly equal where it is equal."""
    middles = (2 * np.arange(source) + 1) * target, (2 * np.arange(target)[:, None] + 1) * source
    distances: Float[np.ndarray, " cell"] = np.abs(middles[0] - middles[1]).ravel() / (2 * source * target)
    return distances
