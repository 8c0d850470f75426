"""Choose the groups of rows that a split puts into its first part."""

import random
from collections import Counter
from collections.abc import Iterable

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError


def choose_groups(groups: Iterable[str], share: float, seed: int) -> set[str]:
    """Draw whole groups until they hold about a share of all rows.

    Args:
        groups: The group of each row.
        share: The share of the rows, strictly between 0 and 1.
        seed: The same seed draws the same groups.

    Returns:
        The names of the groups drawn. Their rows miss the share by at most half of the group at the cut.

    Raises:
        ArgumentError: `share` is out of range.
        ArgumentTypeError: `share` is not a number, or `seed` not a whole number.

    Example:
        >>> sorted(choose_groups(["a", "a", "b", "c"], share=0.5, seed=0))
        ['a']
    """
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise ArgumentTypeError(f"share={share!r} must be a number, not {type(share).__name__}")
    if not 0 < share < 1:
        raise ArgumentError(f"share={share!r} must lie strictly between 0 and 1")
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(whole_number("seed", seed)).shuffle(order)
    chosen: set[str] = set()
    rows, wanted = 0, share * sizes.total()
    for group in order:
        if rows + sizes[group] / 2 > wanted:  # without this group the cut is nearer to the share
            break
        chosen.add(group)
        rows += sizes[group]
    return chosen
