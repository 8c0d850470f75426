"""`xalign items MODEL FOLDER` where the folder holds minimal pairs: what can be told of them by layer."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xalign.cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

_FILE = "minimal_pairs.json"
_SHOWN = (
    *("language", "trained_on", "competence", "low", "high", "maximum", "saturation", "control"),
    "performance",
)


def probe_pairs(
    output: Output,
    load: Callable[[], tuple[Any, Any]],
    items: Any,
    out: Path | None,
    *,
    transfer: bool,
    overwrite: bool,
    token_budget: int,
) -> None:
    """Train the probes, print the best layer of each language, and save all rows where a folder is given."""
    from xalign.errors import ArgumentError, ReportError
    from xalign.probing import probe_minimal_pairs
    from xalign.storage import writable_folder

    file = None if out is None else writable_folder(out, ReportError) / _FILE
    if file is not None and file.exists() and not overwrite:
        raise ArgumentError(f"out={str(out)!r} holds {_FILE}; give another folder, or --overwrite")
    found = probe_minimal_pairs(*load(), items, transfer=transfer, token_budget=token_budget)
    output.show(_table(found.summary()), {"summary": found.summary(), "rows": found.to_rows()})
    if file is not None:
        output.say(f"wrote {found.save(file)}")


def _table(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(title="Good or bad: what a probe tells at its best layer, and what the model prefers")
    for name in _SHOWN:
        table.add_column(name.replace("_", " "))
    for row in rows:
        cells = [row[name] for name in _SHOWN]
        table.add_row(
            *("–" if one is None else f"{one:.3f}" if isinstance(one, float) else one for one in cells)
        )
    return table
