"""Values that a config fills in itself, and recognises when it is copied with other options."""

from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Filled:
    """The mark of a value that was filled in. `asdict` and `deepcopy` give the plain value."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return plain(self)


class _FilledNumber(_Filled, float):
    pass


class _FilledText(_Filled, str):
    pass


def given_or(given: T | None, default: T | None) -> T | None:
    """Return a value as given; if none was given, the default, marked as filled in.

    A value that another config filled in counts as not given. `dataclasses.replace` hands all values of one
    config to the next, which may have another loss, with other defaults.

    Example:
        >>> once = given_or(None, 0.05)
        >>> given_or(once, 0.1), given_or(0.05, 0.1)
        (0.1, 0.05)
    """
    if given is not None and not isinstance(given, _Filled):
        return given
    if default is None:
        return None
    value: Any = default
    return cast(T, _FilledText(value) if isinstance(value, str) else _FilledNumber(value))


def plain(value: Any) -> Any:
    """Return a value without its mark."""
    if isinstance(value, _Filled):
        return str(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    return value
