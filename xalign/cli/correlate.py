"""`xalign correlate RUN_OR_REPORTS RESULTS`."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xalign.cli.options import Json, path
from xalign.cli.output import Output

OverName = StrEnum("OverName", ["mean", "max"])
ResampleName = StrEnum("ResampleName", ["both", "models", "languages"])


def correlate(
    reports: Annotated[
        Path, typer.Argument(parser=path, help="Folder of a report, of a run, or of several of these.")
    ],
    results: Annotated[
        Path,
        typer.Argument(
            parser=path, help="Results of lm-eval, lighteval or Every Eval Ever; a CSV; a folder."
        ),
    ],
    over: Annotated[
        OverName, typer.Option(metavar="<str>", help="Layers: their mean, or the best one (max).")
    ] = OverName.mean,
    score: Annotated[
        str | None, typer.Option(help="The score to take, like acc_norm; acc, or the only one, by default.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option(parser=path, help="CSV of task,language for tasks that are not known.")
    ] = None,
    data_sizes: Annotated[
        Path | None, typer.Option(parser=path, help="CSV of language,size: adds partial correlations.")
    ] = None,
    resample: Annotated[
        ResampleName, typer.Option(metavar="<str>", help="For intervals: both, models or languages.")
    ] = ResampleName.both,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="A page with scatters to write, like found.html.")
    ] = None,
    json: Json = False,
) -> None:
    """Correlate alignment with downstream scores, over languages, checkpoints and models.

    Prints Pearson's and Spearman's correlation of every metric of the reports, and of what stands beside
    them, with 95 % intervals. What could not be joined is listed, with the reason; nothing is guessed.

    Example: `xalign correlate runs/sft results --out found.html`
    """
    from xalign.correlation.correlate import correlate as find

    found = find(
        *(reports, results),
        score=score,
        tasks=None if tasks is None else _two_columns(tasks, "task", "language"),
        data_sizes=None if data_sizes is None else _sizes(data_sizes),
        seed=seed,
        **{"over": over.value, "resample": resample.value},  # type: ignore[arg-type]
    )
    written = None if out is None else found.to_html(out)  # before anything is printed, which may fail
    output = Output(json)
    output.show(found.table(), found.to_dict())
    for one in found.left_out:
        output.say(f"left out: {one.what}: {one.reason}" + (f" ({one.source})" if one.source else ""))
    if written is not None:
        output.say(f"wrote {written}")


def _two_columns(file: Path, key: str, value: str) -> dict[str, str]:
    """Return a table of two columns as a mapping."""
    from xalign.errors import ArgumentError
    from xalign.pairs.lines import read_lines

    rows = [[cell.strip() for cell in line.split(",")] for line in read_lines(file)]
    if not rows or rows[0] != [key, value]:
        raise ArgumentError(f"{file}: its first line must be {key},{value}")
    short = next((number for number, row in enumerate(rows, start=1) if len(row) != 2), None)
    if short is not None:
        raise ArgumentError(f"{file}, line {short}: it must have two fields, {key} and {value}")
    return {row[0]: row[1] for row in rows[1:]}


def _sizes(file: Path) -> Mapping[str, float]:
    from xalign.errors import ArgumentError

    found = _two_columns(file, "language", "size")
    try:
        return {code: float(size) for code, size in found.items()}
    except ValueError as error:
        raise ArgumentError(f"{file}: a size is no number: {error}") from None
