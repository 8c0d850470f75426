"""`Documents`: which values stand together, because their sentences are from one text."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Shaped

LEAST = 6
"""With fewer documents, not even differences that all have one sign reach p < .05 (2 / 2⁵ = .06)."""


@dataclass(frozen=True, eq=False)
class Documents:
    """The documents that sentences are from.

    Sentences of one article share a topic, names and a translator, so they are no independent draws: what is
    drawn at random are documents.

    Attributes:
        number: The number of each sentence's document, from 0.
        sizes: How many sentences each document has.

    Example:
        >>> found = documents_of(("a", "a", "b", "c", "d", "e", "f"))
        >>> found.count, found.sums(np.arange(7.0))
        (6, array([1., 2., 3., 4., 5., 6.]))
    """

    number: Int[np.ndarray, " pair"]
    sizes: Int[np.ndarray, " document"]

    @property
    def count(self) -> int:
        """How many documents there are."""
        return len(self.sizes)

    def sums(self, values: Shaped[np.ndarray, " pair"]) -> Float[np.ndarray, " document"]:
        """Return the sum of each document's values."""
        return np.bincount(self.number, weights=values, minlength=self.count)


@lru_cache(maxsize=64)
def documents_of(names: tuple[str, ...] | None) -> Documents | None:
    """Return the documents that are resampled in place of sentences.

    Args:
        names: The document of each sentence; None where the source has none.

    Returns:
        None where sentences are resampled: there are no documents, each sentence has its own, or there are
        fewer than 6, too few to tell how documents differ.

    Example:
        >>> print(documents_of(("a", "a", "b", "b")), documents_of(None))
        None None
    """
    if names is None:
        return None
    known = {name: place for place, name in enumerate(dict.fromkeys(names))}
    if not LEAST <= len(known) < len(names):
        return None
    number = np.array([known[name] for name in names])
    return Documents(number, np.bincount(number))
