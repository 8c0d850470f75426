"""Options are frozen dataclasses: each field is written once, with its default and with what must agree."""

from dataclasses import field, fields
from typing import Any

COMPARED = "compared"
"""Two reports with different values of such an option cannot be compared."""
CONTINUED = "continued"
"""Such an option may differ between two reports, as steering does, but not within one history."""


def option(default: Any, *, must_agree: str | None = None, hashed: bool = True) -> Any:
    """Declare a field of an options class.

    Args:
        default: Its default.
        must_agree: `COMPARED`, `CONTINUED`, or None for what changes no score.
        hashed: Whether it counts in the hash of the options. Not where a value may have no hash, as a dict.
    """
    return field(default=default, hash=None if hashed else False, metadata={"must_agree": must_agree})


def must_agree(options: type, *marks: str) -> tuple[str, ...]:
    """Return the names of an options class's fields that carry one of the marks, in their order."""
    return tuple(one.name for one in fields(options) if one.metadata.get("must_agree") in marks)
