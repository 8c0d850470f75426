"""Checks of arguments that many functions share."""

import math
from numbers import Integral, Real

from xalign.errors import ArgumentError, ArgumentTypeError


def whole_number(name: str, value: object, least: int | None = 0) -> int:
    """Return a whole number of at least `least`, or raise an error that names the argument.

    Numbers of numpy are taken too.

    Example:
        >>> whole_number("n", 3)
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be a whole number, not {type(value).__name__}")
    if least is not None and value < least:
        raise ArgumentError(f"{name}={value} must be at least {least}")
    return int(value)


def boolean(name: str, value: object) -> bool:
    """Return True or False, or raise an error that names the argument.

    Example:
        >>> boolean("truncate", True)
        True
    """
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be True or False, not {type(value).__name__}")
    return value


def positive(name: str, value: object, *, zero: bool = False) -> float:
    """Return a finite number above 0 (0 too with `zero`), or raise an error that names the argument.

    Example:
        >>> positive("temperature", 0.05)
        0.05
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ArgumentError(f"{name}={value!r:.60} must be {'0 or ' if zero else ''}above 0, and finite")
    return number
