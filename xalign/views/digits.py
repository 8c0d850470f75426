"""How many decimals a number is shown with."""

import math
from collections.abc import Iterable

from xalign.metrics.scale import Scale

MOST = 12


def decimals_of(scale: Scale, values: Iterable[float]) -> int:
    """Return how many decimals tell about a thousand values of a metric apart: 3 for shares.

    Args:
        scale: The scale of the metric. Where it has bounds, the values do not matter.
        values: The values that are shown.

    Example:
        >>> decimals_of(Scale("Perplexity"), [1210.0, 1420.0]), decimals_of(Scale("Error"), [0.0002])
        (1, 7)
    """
    low, high = scale.bounds or _ends(values)
    span = high - low or abs(high)
    return min(max(3 - math.floor(math.log10(span)), 0), MOST) if span > 0 else 3


def _ends(values: Iterable[float]) -> tuple[float, float]:
    shown = list(values)
    return (min(shown), max(shown)) if shown else (0.0, 0.0)
