"""`draw_rows`: subsets of sentences, to see how much a score depends on which were taken."""

import random
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from xalign.checks import whole_number
from xalign.errors import ArgumentError

By = Literal["sentences", "documents", "blocks"]


def draw_rows(
    total: int, n: int, draws: int, *, by: By, documents: Sequence[str] | None = None, seed: int = 0
) -> list[Int[np.ndarray, " drawn"]]:
    """Draw subsets of n of some rows, each without replacement.

    Args:
        total: How many rows there are.
        n: How many each draw takes.
        draws: How many draws.
        by: `"sentences"`: rows at random. `"documents"`: whole documents in random order, the last one cut
            where n is reached. `"blocks"`: rows that follow one another, from starts that are spread evenly;
            they overlap unless draws × n is at most `total`.
        documents: The document of each row, for `"documents"`.
        seed: The same seed gives the same draws.

    Returns:
        The rows of each draw, in the order of the text.

    Raises:
        ArgumentError: An unknown way to draw, more rows than there are, or no documents where they are drawn.

    Example:
        >>> [rows.tolist() for rows in draw_rows(6, 2, 3, by="blocks")]
        [[0, 1], [2, 3], [4, 5]]
    """
    if by not in get_args(By):
        raise ArgumentError(f"by={by!r:.40} must be one of {', '.join(get_args(By))}")
    n, draws = whole_number("n", n, least=2), whole_number("draws", draws, least=1)
    if n > total:
        raise ArgumentError(f"n={n} is more than the {total} sentences there are")
    if by == "blocks":
        step = max(n, (total - n) / max(draws - 1, 1)) if draws * n <= total else (total - n) / (draws - 1)
        starts = [min(round(step * number), total - n) for number in range(draws)]
        return [np.arange(start, start + n) for start in starts]
    if by == "documents" and documents is None:
        raise ArgumentError("by='documents' needs pairs that name the document of each sentence")
    labels = [str(row) for row in range(total)] if by == "sentences" or documents is None else documents
    members: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, []).append(row)
    generator, found = random.Random(whole_number("seed", seed)), []
    for _ in range(draws):
        order = generator.sample(list(members), len(members))
        taken = [row for label in order for row in members[label]][:n]
        found.append(np.array(sorted(taken)))
    return found
