"""`xalign compare BEFORE AFTER`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xalign.cli.options import FormName, Json, PictureForm, path
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport


def compare(
    before: Annotated[Path, typer.Argument(parser=path, help="Folder of the first report.")],
    after: Annotated[Path, typer.Argument(parser=path, help="Folder of the second report.")],
    out: Annotated[
        Path | None,
        typer.Option(parser=path, help="Draw both, layer by layer, in this folder: a picture per metric."),
    ] = None,
    form: PictureForm = FormName.png,
    json: Json = False,
) -> None:
    """Show what changed between two saved reports of the same sentences.

    Differences are paired over sentences: interval by bootstrap, p by sign flips. A line is dim
    unless its interval leaves 0 out and p is below .05. With --json, prints the rows of
    `AlignmentReport.compare` instead.

    Example: `xalign compare runs/base runs/aligned --out runs/compared`
    """
    from xalign.results.report import AlignmentReport
    from xalign.views.table import comparison_table

    first, second = AlignmentReport.load(before), AlignmentReport.load(after)
    rows, output = second.compare(first), Output(json)
    # Before anything is printed, since drawing may fail.
    written = [] if out is None else _draw(first, second, out, form)
    output.show(comparison_table(rows), rows)
    for picture in written:
        output.say(f"wrote {picture}")


def _draw(before: "AlignmentReport", after: "AlignmentReport", out: Path, form: str) -> list[Path]:
    """Draw what both reports hold, a picture per metric; return their paths."""
    from xalign.errors import ReportError
    from xalign.storage import writable_folder
    from xalign.views.picture import save_picture
    from xalign.views.stages import stages_figure

    folder, written = writable_folder(out, ReportError), []
    for metric in (row for row in after.metrics if row in before.metrics):
        if Path(metric).name != metric:  # a report is a file that may come from anywhere
            raise ReportError(f"metric={metric!r} cannot be the name of a picture; leave --out away")
        figure = stages_figure({"before": before, "after": after}, metric)
        written.append(save_picture(figure, folder / f"{metric}.{form}"))
    return written
