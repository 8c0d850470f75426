"""`AlignmentArguments`: the fields of `AlignmentConfig` for YAML files and command lines."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from xalign.control.controller import Controller
from xalign.losses.loss import Loss
from xalign.losses.transform import Transform
from xalign.pairs.parallel import ParallelPairs
from xalign.schema import checked
from xalign.training.config import AlignmentConfig

_OPTIONS = {option.name: option for option in fields(AlignmentConfig)}


class _Arguments:
    """What the generated `AlignmentArguments` adds to its fields."""

    if TYPE_CHECKING:

        def __init__(self, **values: object) -> None: ...

    def config(self) -> AlignmentConfig:
        """Return the `AlignmentConfig` that these arguments describe.

        Raises:
            ArgumentError: A value that is not allowed, or of another type than its field; the field is named.
        """
        return AlignmentConfig(
            **{name: _from_file(name, getattr(self, f"align_{name}")) for name in _OPTIONS}
        )


def _from_file(name: str, value: Any) -> Any:
    """Return a value that a parser may have read from a file, checked for its type.

    What no file holds, such as `ParallelPairs`, is left to `AlignmentConfig`.
    """
    if not isinstance(value, str | int | float | list | dict | None):
        return value
    allowed = _allowed(_OPTIONS[name].type)
    if isinstance(value, str) and any(get_origin(one) is Literal for one in allowed):
        return value  # which texts are allowed may depend on the loss
    kinds = [one for one in allowed if not _is_of_python(one)]
    if isinstance(value, str) and float in kinds and str not in kinds:
        with suppress(ValueError):  # YAML reads 1e-1 as text and 1.0e-1 as a number; both mean the number
            value = float(value)
    return checked(Union[tuple(kinds)], value, f"align_{name}")  # noqa: UP007


def _is_of_python(kind: Any) -> bool:
    """Return whether no file can hold a value of a type."""
    return kind in (ParallelPairs, Path, Loss, Transform, Controller) or get_origin(kind) is Callable


def _allowed(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _parsed(hint: Any) -> Any:
    """Return the type as which an argument parser reads a field: text where it knows no such type."""
    allowed = _allowed(hint)
    types = [one for one in allowed if one is not NoneType]
    if types in ([bool], [int], [float], [str], [list[str]]):
        return hint
    return str | None if NoneType in allowed else str


AlignmentArguments: type[_Arguments] = make_dataclass(
    "AlignmentArguments",
    [
        (f"align_{name}", _parsed(option.type), field(default=option.default, metadata=option.metadata))
        for name, option in _OPTIONS.items()
    ],
    bases=(_Arguments,),
    namespace={"__module__": __name__},
)
"""The fields of `AlignmentConfig` with `align_` before each, for parsers of YAML files and command lines."""
AlignmentArguments.__doc__ = """The fields of `AlignmentConfig` with `align_` before each, for parsers.

`HfArgumentParser` and `TrlParser` read them from YAML files and command lines. The prefix keeps them apart
from a trainer's own arguments, which have a `seed` too. Fields of types that a parser does not know, like
`layer`, are read as text.

Example:
    >>> AlignmentArguments(align_loss="cosine", align_seed=3).config().seed
    3
"""
