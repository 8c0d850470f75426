"""`xalign items MODEL ITEMS`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    Json,
    Languages,
    Model,
    Overwrite,
    Pivot,
    Progress,
    ReportFolder,
    Revision,
    TokenBudget,
    TrustRemoteCode,
    listed,
)
from xalign.cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

Tasks = Annotated[str, typer.Argument(help="Folder of JSONL files named after languages, or a .jsonl file.")]
FirstItems = Annotated[int | None, typer.Option(help="Take the first N items; all by default.")]
Drop = Annotated[bool, typer.Option("--drop", help="Drop items that some language cannot use.")]
Solve = Annotated[bool, typer.Option("--answers", help="Answer the items too: are aligned ones solved?")]
_SHOWN = ("language", "layer", "aligned", "accuracy", "difference", "low", "high", "agreement", "chance")


def items(
    model: Model,
    tasks: Tasks,
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstItems = None,
    drop: Drop = False,
    answers: Solve = False,
    out: ReportFolder = None,
    overwrite: Overwrite = False,
    token_budget: TokenBudget = 4096,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    progress: Progress = None,
    json: Json = False,
) -> None:
    """Measure, for each item of a choice task, whether a model lines its options up with the pivot's.

    Prints a line per language and metric, as `xalign measure` does. With --answers, also prints how often
    items are solved that are aligned at the best layer, against the others, with a 95 % interval, and the
    share of items that are both or neither, beside chance.

    Example: `xalign items Qwen/Qwen3-0.6B xstorycloze --languages spa,swh --n 100 --answers`
    """
    from xalign.cli.loading import load_model
    from xalign.judging.answers import agreement, answer_items
    from xalign.measurement.items import measure_items
    from xalign.pairs.load_items import load_items
    from xalign.results.saved import check_folder

    shown = sys.stderr.isatty() if progress is None else progress
    chosen = None if languages is None else listed(languages)
    loaded_items = load_items(tasks, chosen, pivot, n, unusable="drop" if drop else "refuse")
    if out is not None:
        check_folder(out, overwrite=overwrite)
    common: Any = {"revision": revision, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    network, tokenizer = load_model(model, **common, device=device, progress=shown)
    report = measure_items(network, tokenizer, loaded_items, token_budget=token_budget, revision=revision)
    solved = answer_items(network, tokenizer, loaded_items, token_budget=token_budget) if answers else None
    rows = [] if solved is None else agreement(report, solved)
    output = Output(json)
    output.show(report.table(), {"alignment": report.to_rows(), "answers": rows})
    if rows and not json:
        output.console.print(_table(rows))
    if out is not None:
        output.say(f"wrote {report.save(out, overwrite=overwrite)}")


def _table(rows: list[dict[str, Any]]) -> "Table":
    """Return what `agreement` gives as a table."""
    from rich.table import Table

    table = Table(title="Are aligned items solved more often? (difference with its 95 % interval)")
    for name in _SHOWN:
        table.add_column(name)
    for row in rows:
        table.add_row(
            *(f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in _SHOWN)
        )
    return table
