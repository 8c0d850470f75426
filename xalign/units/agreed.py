"""`agreed`: what two provenances agree on, for sets and vectors that are combined."""

from collections.abc import Mapping
from typing import Any

from xalign.errors import ArgumentError


def agreed(one: Mapping[str, Any], other: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the entries that two provenances agree on. An entry of only one of them is left out.

    What was made by hand has no provenance; then the other's is kept whole.

    Args:
        one: A provenance.
        other: Another.
        what: What is combined, for errors, like `sets`.

    Raises:
        ArgumentError: They are of models of different shapes.

    Example:
        >>> agreed({"model": "a", "method": "lape"}, {"model": "a", "method": "aura"}, "sets")
        {'model': 'a'}
    """
    shapes = [origin["shape"] for origin in (one, other) if "shape" in origin]
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        raise ArgumentError(f"the {what} are of different models: {shapes[0]} and {shapes[1]}")
    if not one or not other:
        return dict(one or other)
    return {name: value for name, value in one.items() if name in other and other[name] == value}
