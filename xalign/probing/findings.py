"""`Findings`: rows of numbers and what they describe, shown as a table and kept in a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from xalign.errors import ArgumentError, ReportError
from xalign.escape import cell
from xalign.files import read_regular
from xalign.schema import Fields, checked, read_json
from xalign.storage import write_whole

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION = 1
_MOST_BYTES = 2**28


class _File(Fields):
    """The file of findings."""

    schema_version: int
    kind: str
    about: dict[str, Any]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Findings:
    """What a function of `xalign.probing` found. Each kind is a subclass that says what its rows hold.

    Attributes:
        rows: A dict per line.
        about: The model, the settings and the texts that the rows describe.
    """

    rows: Sequence[dict[str, Any]]
    about: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str]
    row: ClassVar[type[Fields]]
    """The fields of a row, with their types."""
    shown: ClassVar[tuple[str, ...]]
    """The columns of the table."""

    def __post_init__(self) -> None:
        """Check the rows."""
        checked(list[self.row], [dict(row) for row in self.rows], "rows")  # type: ignore[name-defined]
        object.__setattr__(self, "rows", tuple(dict(row) for row in self.rows))

    def where(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the rows with these values.

        Raises:
            ArgumentError: An unknown column.
        """
        known = self.row.__struct_fields__
        for name in wanted:
            if name not in known:
                raise ArgumentError(f"{name!r:.40} is no column of {self.kind}; there are {', '.join(known)}")
        return [row for row in self.rows if wanted.items() <= row.items()]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows."""
        return [dict(row) for row in self.rows]

    def table(self) -> "Table":
        """Return the rows as a table."""
        from rich.table import Table

        table = Table(box=None)
        for name in self.shown:
            table.add_column(name.replace("_", " "), justify="left" if self._is_text(name) else "right")
        for row in self.rows:
            table.add_row(*(cell(_said(row[name])) for name in self.shown))
        return table

    def _is_text(self, name: str) -> bool:
        return any(isinstance(row[name], str) for row in self.rows)

    def save(self, file: str | Path) -> Path:
        """Write the rows, and what they are about, as JSON: completely or not at all.

        Raises:
            ReportError: A file that cannot be written.
        """
        content = {"schema_version": SCHEMA_VERSION, "kind": self.kind, "about": dict(self.about)}
        text = json.dumps(content | {"rows": list(self.rows)}, ensure_ascii=False, indent=1, allow_nan=False)
        path = Path(file)
        write_whole(path, text.encode(), ReportError)
        return path

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read what `save` has written.

        Raises:
            ReportError: Another file, or one of a later version.
        """
        path = Path(file)
        try:
            found = checked(_File, read_json(read_regular(path, _MOST_BYTES)))
            if (found.kind, found.schema_version) != (cls.kind, SCHEMA_VERSION):
                raise ValueError(f"it holds {found.kind!r:.60} of schema {found.schema_version}")
            return cls(tuple(found.rows), found.about)
        except (OSError, ValueError) as reason:
            raise ReportError(
                f"{str(path)!r} is no file of {cls.kind} that this version can read: {reason!s:.200}"
            ) from None


def _said(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
