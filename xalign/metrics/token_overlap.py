"""What two sides share as bags of tokens: the token types, and how often each is used."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from xalign.errors import ArgumentError


def token_jaccard(one: Sequence[Sequence[Hashable]], other: Sequence[Sequence[Hashable]]) -> float:
    """Return the share of all token types that both sides have, in [0, 1].

    Args:
        one: Sentences as tokens.
        other: Sentences of the other side, under the same tokenizer.

    Raises:
        ArgumentError: A side without tokens.

    Example:
        >>> token_jaccard([[1, 2], [2]], [[2, 3]])
        0.3333333333333333
    """
    left, right = (set(_bag(side)) for side in (one, other))
    return len(left & right) / len(left | right)


def jensen_shannon(one: Sequence[Sequence[Hashable]], other: Sequence[Sequence[Hashable]]) -> float:
    """Return the Jensen–Shannon divergence of both sides' token distributions, in bits, in [0, 1].

    It is 0 where both use each token equally often, and 1 where they share none.

    Args:
        one: Sentences as tokens.
        other: Sentences of the other side, under the same tokenizer.

    Raises:
        ArgumentError: A side without tokens.

    Reference:
        Lin (1991), Divergence measures based on the Shannon entropy.

    Example:
        >>> jensen_shannon([["a"]], [["b"]]), jensen_shannon([["a", "b"]], [["b"], ["a"]])
        (1.0, 0.0)
    """
    bags = [_bag(side) for side in (one, other)]
    types = sorted({token for bag in bags for token in bag}, key=repr)
    shares = np.array([[bag[token] / bag.total() for token in types] for bag in bags])
    middle = shares.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(shares > 0, shares * np.log2(shares / middle), 0.0)
    return float(parts.sum(axis=1).mean().clip(0, 1))


def _bag(side: Sequence[Sequence[Hashable]]) -> Counter[Hashable]:
    """Return how often each token of a side is used."""
    bag = Counter(token for sentence in side for token in sentence)
    if not bag:
        raise ArgumentError("a side has no tokens; give at least one sentence with a token")
    return bag
