"""Welch's t-test of two samples with unequal variances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from xalign.errors import ArgumentError
from xalign.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class Welch:
    """What Welch's t-test found.

    Attributes:
        difference: The mean of x less the mean of y.
        t: The statistic.
        degrees: Its degrees of freedom (Welch–Satterthwaite).
        p_value: The two-sided p-value.
        interval: The interval of the difference.
    """

    difference: float
    t: float
    degrees: float
    p_value: float
    interval: Interval


def welch_test(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> Welch:
    """Test whether two samples have the same mean, where their variances may differ.

    Args:
        x: The values of one sample, at least 2.
        y: Those of the other.
        level: The nominal coverage of the interval.

    Raises:
        ArgumentError: Fewer than 2 values, values that are not finite, or no spread in either sample.

    Reference:
        Welch (1947).

    Example:
        >>> found = welch_test([2.0, 3.0, 4.0], [1.0, 1.0, 2.0])
        >>> round(found.t, 3), round(found.degrees, 3), round(found.p_value, 3)
        (2.5, 3.2, 0.082)
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if min(first.size, second.size) < 2 or first.ndim != 1 or second.ndim != 1:  # noqa: PLR2004
        raise ArgumentError(f"x has {first.size} values and y {second.size}; a t-test needs 2 of each")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ArgumentError("x or y holds NaN or infinity")
    if not np.ptp(first) and not np.ptp(second):
        raise ArgumentError("all values of x are equal, and all of y; a t-test needs a spread in one of them")
    parts = first.var(ddof=1) / first.size, second.var(ddof=1) / second.size
    error = float(sum(parts)) ** 0.5
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / (first.size - 1) + parts[1] ** 2 / (second.size - 1))
    difference = float(first.mean() - second.mean())
    half = error * float(student.ppf((1 + level) / 2, degrees))
    return Welch(
        difference,
        difference / error,
        float(degrees),
        2 * float(student.sf(abs(difference) / error, degrees)),
        (difference - half, difference + half),
    )
