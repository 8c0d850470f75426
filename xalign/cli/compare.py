"""`xalign compare BEFORE AFTER`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def compare(
    before: Annotated[Path, typer.Argument(help="Folder of the first report.")],
    after: Annotated[Path, typer.Argument(help="Folder of the second report.")],
) -> None:
    """Show what changed between two saved reports of the same sentences.

    Differences are paired over sentences: interval by bootstrap, p by sign flips. Lines whose interval holds
    0 are dim.

    Example: `xalign compare runs/base runs/aligned`
    """
    from xalign.results.report import AlignmentReport
    from xalign.views.table import comparison_table

    rows = AlignmentReport.load(after).compare(AlignmentReport.load(before))
    Console().print(comparison_table(rows))
