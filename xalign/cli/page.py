"""`xalign page SOURCE`."""

from pathlib import Path
from typing import Annotated

import typer


def page(
    source: Annotated[Path, typer.Argument(help="Folder of a run or of a report, or a history.jsonl.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
) -> None:
    """Write a page with curves, maps, worst pairs and provenance: one file that opens from disk.

    Example: `xalign page runs/sft --out report.html`
    """
    from rich.console import Console

    from xalign.views.page import write_page

    Console().print(f"wrote {write_page(source, out)}", markup=False, highlight=False)
