"""The difference of two shares of independent items: its interval."""

from xalign.statistics.intervals import Interval, wilson_interval


def newcombe_interval(hits: int, n: int, other_hits: int, other_n: int, level: float = 0.95) -> Interval:
    """Return the interval of the difference of two shares, hits / n − other_hits / other_n.

    It is made of the Wilson intervals of both, so it has a width where a share is 0 or 1.

    Args:
        hits: Number of bits that are 1 in the first group.
        n: Number of bits of the first group.
        other_hits: The same of the second group.
        other_n: Number of bits of the second group.
        level: The nominal coverage.

    Raises:
        ArgumentError: A group without bits, or with more hits than bits.

    Reference:
        Newcombe (1998), Interval estimation for the difference between independent proportions, method 10.

    Example:
        >>> [round(end, 4) for end in newcombe_interval(56, 70, 48, 80)]  # its table II, (a)
        [0.0524, 0.3339]
    """
    (low, high), (other_low, other_high) = (
        wilson_interval(hits, n, level),
        wilson_interval(other_hits, other_n, level),
    )
    share, other = hits / n, other_hits / other_n
    below = ((share - low) ** 2 + (other_high - other) ** 2) ** 0.5
    above = ((high - share) ** 2 + (other - other_low) ** 2) ** 0.5
    return share - other - below, share - other + above
