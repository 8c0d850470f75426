"""`Epochs`: every pair once per epoch, in parts of one language that are spread evenly."""

import random
from collections.abc import Mapping
from functools import lru_cache

Part = tuple[str, tuple[int, ...]]
"""A language and some of its rows."""


class Epochs:
    """The order in which pairs are drawn when each is drawn once per epoch.

    In each epoch the rows of a language are shuffled and cut into parts as equal as possible, and the parts
    of a language are spread evenly over the epoch. So everywhere, a language's share is in proportion to its
    size. Epochs follow one another without a gap, and nothing but the seed decides the order.

    Args:
        counts: Language -> number of pairs.
        size: The most pairs in a part; one more where a single pair would be left as a part of its own.
        seed: Decides the order.

    Example:
        >>> epochs = Epochs({"deu_Latn": 4, "spa_Latn": 2}, size=2, seed=0)
        >>> sorted(row for code, rows in epochs.parts(0, 3) for row in rows if code == "deu_Latn")
        [0, 1, 2, 3]
    """

    def __init__(self, counts: Mapping[str, int], size: int, seed: int) -> None:
        self._counts, self._seed = dict(counts), seed
        self._parts = {code: _parts(count, size) for code, count in counts.items()}
        self.n_parts = sum(self._parts.values())
        self._of_epoch = lru_cache(maxsize=2)(self._make)

    def parts(self, first: int, count: int) -> list[Part]:
        """Return some parts in a row, counted from the beginning of the first epoch."""
        numbers = range(first, first + count)
        return [self._of_epoch(number // self.n_parts)[number % self.n_parts] for number in numbers]

    def _make(self, epoch: int) -> list[Part]:
        order = random.Random(f"epoch {self._seed} {epoch}")
        placed = []
        for code, count in self._counts.items():
            rows = order.sample(range(count), count)
            parts = self._parts[code]
            for part in range(parts):
                own = tuple(rows[part * count // parts : (part + 1) * count // parts])
                placed.append(((part + order.random()) / parts, code, own))
        return [(code, rows) for _, code, rows in sorted(placed)]


def _parts(count: int, size: int) -> int:
    """Return in how many parts the pairs of a language are cut."""
    parts = -(-count // size)
    return parts if size == 1 else min(parts, max(1, count // 2))
