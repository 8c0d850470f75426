"""Checks of arguments that many functions share."""

from numbers import Integral

from xalign.errors import ArgumentError, ArgumentTypeError


def whole_number(name: str, value: object, least: int | None = 0) -> int:
    """A whole number, numpy's included, of at least `least`; else an error that names the argument.

    Example:
        >>> whole_number("n", 3)
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be a whole number, not {type(value).__name__}")
    if least is not None and value < least:
        raise ArgumentError(f"{name}={value} must be at least {least}")
    return int(value)
