"""Checks of arguments that many functions share."""

import difflib
import inspect
import math
from collections.abc import Iterable, Sequence
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
    number = _real(name, value)
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ArgumentError(f"{name}={value!r:.60} must be {'0 or ' if zero else ''}above 0, and finite")
    return number


def number(name: str, value: object) -> float:
    """Return a finite number, or raise an error that names the argument.

    Example:
        >>> number("strength", -2)
        -2.0
    """
    found = _real(name, value)
    if not math.isfinite(found):
        raise ArgumentError(f"{name}={value!s:.60} must be finite")
    return found


def _real(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def names(name: str, value: object) -> list[str]:
    """Return a list of names, or raise an error that names the argument.

    Example:
        >>> names("labels", ("deu_Latn",))
        ['deu_Latn']
    """
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be a list, like ['deu_Latn']")
    if not all(isinstance(one, str) for one in value):
        raise ArgumentTypeError(f"{name}={value!r:.60} must hold names only, like ['deu_Latn']")
    return list(value)


def function_of(name: str, value: object, *arguments: str, more: bool = False) -> None:
    """Raise an error that names the argument where a value is not a function that takes these arguments.

    With `more` it may need further ones.

    Example:
        >>> function_of("identify", str.upper, "text")
    """
    wanted = f"a function ({', '.join(arguments)}) -> ..."
    if not callable(value) or isinstance(value, type):
        raise ArgumentTypeError(f"{name}={value!r:.60} must be {wanted}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some built-in functions do not say what they take
        return
    try:
        (signature.bind_partial if more else signature.bind)(*arguments)
    except TypeError as error:
        raise ArgumentTypeError(f"{name}={value!r:.60} must be {wanted}, and this one has {error}") from None


def known_options(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise an error that names the function and the nearest option where one that it does not have is given.

    Example:
        >>> known_options("measure", ["pool"], ["pool", "seed"])
    """
    known = sorted(known)
    unknown = sorted(set(given) - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f", did you mean {near[0]}?" if near else ";"
        raise ArgumentTypeError(f"{function} has no option {unknown[0]!r}{meant} it has {', '.join(known)}")
