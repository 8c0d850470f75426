"""`xalign page SOURCE`."""

from pathlib import Path
from typing import Annotated

import typer

from xalign.cli.options import path
from xalign.cli.output import Output


def page(
    source: Annotated[
        Path, typer.Argument(parser=path, help="Folder of a run or of a report, or a history.jsonl.")
    ],
    out: Annotated[Path, typer.Option(parser=path, help="The file to write.")] = Path("report.html"),
) -> None:
    """Write a page with curves, maps, worst pairs and provenance: one file that opens from disk.

    Example: `xalign page runs/sft --out report.html`
    """
    from xalign.views.page import write_page

    Output(as_json=False).say(f"wrote {write_page(source, out)}")
