"""`Format`: a kind of results file: how it is recognised, and what it holds."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xalign.correlation.outcome import Identity


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a results file, before its task is understood.

    Attributes:
        identity: Whose it is.
        task: The name of the task.
        scores: Name of a score -> its value.
        language: The language, where the file says it; else it is read from the task's name.
        benchmark: The benchmark, where the file says it.
        besides: Other numbers of the same row.
    """

    identity: Identity
    task: str
    scores: Mapping[str, float]
    language: str | None = None
    benchmark: str | None = None
    besides: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of results file.

    Attributes:
        name: Its name.
        is_of: From the content of a JSON file to whether it is of this kind.
        entries: From that content to its entries.
    """

    name: str
    is_of: Callable[[Any], bool]
    entries: Callable[[Any], Iterator[Found]]


def numbers_of(content: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, float]:
    """Return the finite numbers of an object, but for those whose key ends in one of some words.

    Example:
        >>> numbers_of({"acc": 0.5, "acc_stderr": 0.1, "alias": "x", "ok": True}, ["stderr"])
        {'acc': 0.5}
    """
    return {
        key: float(value)
        for key, value in content.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and not key.endswith(tuple(without))
    }
