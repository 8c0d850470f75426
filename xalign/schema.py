"""Check what a file holds before it is used: strict JSON, then every field by type and range."""

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, overload

import msgspec
from msgspec import Meta

from xalign.errors import ArgumentError

T = TypeVar("T")
DEEPEST = 64  # nothing that xalign writes is nested deeper than 8
# Half of a surrogate pair can stand in JSON as an escape only.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Size = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Duration = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
Name = Annotated[str, Meta(pattern=r"\A[^\W\d]\w*\Z")]
Language = Annotated[str, Meta(pattern=r"\A[a-z]{3}_[A-Z][a-z]{3}\Z")]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Provenance = dict[str, Any]


class Fields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields of one object of a file. A subclass lists them; others are refused."""


def read_settings(argument: str, path: str | Path) -> dict[str, Any]:
    """Read a YAML file of keys and values, as a user writes it.

    Args:
        argument: The name of the user's argument, for the error message.
        path: The file.

    Raises:
        ArgumentError: It cannot be read, or holds something else.

    Example:
        >>> _ = Path("settings.yaml").write_text("steps: 3")
        >>> read_settings("config", "settings.yaml")
        {'steps': 3}
    """
    import yaml

    try:
        said = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(f"{argument}={str(path)!r} cannot be read as YAML: {error}") from None
    if not isinstance(said, dict):
        raise ArgumentError(f"{argument}={str(path)!r} must hold keys and values, not {said!r:.60}")
    return said


def read_json(data: bytes) -> Any:
    """Read JSON in which nothing is ambiguous or out of reach.

    Args:
        data: The text in UTF-8.

    Raises:
        ArgumentError: No JSON; or a key given twice, NaN, an infinite or huge number, half of a surrogate
            pair, or objects nested more than 64 deep.

    Example:
        >>> read_json(b'{"step": 3}')
        {'step': 3}
    """
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        if data.count(b"{") + data.count(b"[") > DEEPEST:
            _check_depth(found)
        if _SURROGATE.search(data):  # nothing can write half of a pair again
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        _refuse_depth()
    except UnicodeError as error:
        raise ArgumentError(f"its text is no UTF-8: {error}") from None
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(f"it is no JSON: {error!s:.100}") from None
    return found


@overload
def checked(kind: type[T], value: Any, where: str = "") -> T: ...
@overload
def checked(kind: Any, value: Any, where: str = "") -> Any: ...
def checked(kind: Any, value: Any, where: str = "") -> Any:
    """Return a value of a file as the type that says what is allowed.

    Args:
        kind: A subclass of `Fields`, or any type that msgspec knows.
        value: What was read.
        where: The field that holds the value, for errors; empty for the whole file.

    Raises:
        ArgumentError: A field that is missing or unknown, or of a type or range that is not allowed. The
            error names the field, its value and what is allowed.

    Example:
        >>> checked(Count, 3, "step")
        3
    """
    try:
        return msgspec.convert(value, kind, strict=True)
    except RecursionError:
        _refuse_depth()
    except UnicodeError as error:  # what did not come through `read_json` may hold half a surrogate pair
        raise ArgumentError(f"{where or 'the file'} holds text that is no UTF-8: {error}") from None
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at ")
        steps = re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path)
        names: list[str] = []
        found = value
        with suppress(LookupError, TypeError):  # the name of an unknown field may look like a path
            names, found = _located(kind, value, value, [name or place for name, place in steps], str(error))
        field = ".".join(filter(None, [where, *names]))
        if said.startswith("Object "):  # a field that is missing or unknown, not the value of one
            raise ArgumentError(f"{field or 'the file'}: {said[0].lower()}{said[1:]}") from None
        raise ArgumentError(f"{field or 'the file'}={found!r:.80} is not allowed: {said}") from None


def _located(
    kind: Any, root: Any, inside: Any, steps: list[str], message: str, before: tuple[str, ...] = ()
) -> tuple[list[str], Any]:
    """Return the way to the value that msgspec refuses; msgspec itself leaves out the keys of mappings."""
    if not steps:
        return [], inside
    step, *rest = steps
    if step != "...":
        key: Any = int(step) if step.isdecimal() and isinstance(inside, list | tuple) else step
        names, found = _located(kind, root, inside[key], rest, message, (*before, key))
        return [step, *names], found
    for key in inside:
        alone = _with(root, before, {key: inside[key]})
        try:
            msgspec.convert(alone, kind, strict=True)
        except (msgspec.ValidationError, UnicodeError) as error:
            if str(error) == message:
                names, found = _located(kind, alone, inside[key], rest, message, (*before, key))
                return [str(key), *names], found
    return ["..."], inside


def _with(root: Any, way: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of nested lists and mappings with another value at one place."""
    if not way:
        return value
    copy = root.copy()
    copy[way[0]] = _with(root[way[0]], way[1:], value)
    return copy


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ArgumentError(f"it has {max(keys, key=keys.count)!r:.60} twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ArgumentError(f"it holds the number {text:.30}, which is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ArgumentError(f"it holds {name}, which is no number in JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [one for outer in level for one in _inside(outer) if isinstance(one, dict | list)]
        if not level:
            return
    _refuse_depth()


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _refuse_depth() -> NoReturn:
    raise ArgumentError(f"it is nested more than {DEEPEST} deep")
