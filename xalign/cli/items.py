"""`xalign items MODEL ITEMS`."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xalign.cli.items_pairs import probe_pairs
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
Transfer = Annotated[
    bool, typer.Option("--transfer", help="Minimal pairs: also probe each language with every other's.")
]
_SHOWN = ("language", "layer", "aligned", "accuracy", "difference", "low", "high", "agreement", "chance")


def items(
    model: Model,
    tasks: Tasks,
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstItems = None,
    drop: Drop = False,
    answers: Solve = False,
    transfer: Transfer = False,
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
    share of items that are both or neither, beside chance. Of minimal pairs, prints how well a probe tells
    good from bad at its best layer, and how often the model finds the good sentence likelier.

    Example: `xalign items Qwen/Qwen3-0.6B xstorycloze --languages spa,swh --n 100 --answers`
    """
    from xalign.cli.loading import load_model
    from xalign.pairs.item import MinimalPair
    from xalign.pairs.load_items import load_items

    shown = sys.stderr.isatty() if progress is None else progress
    chosen = None if languages is None else listed(languages)
    loaded_items = load_items(tasks, chosen, pivot, n, unusable="drop" if drop else "refuse")
    common: Any = {"revision": revision, "dtype": dtype.value, "trust_remote_code": trust_remote_code}
    load = partial(load_model, model, **common, device=device, progress=shown)
    output, is_pairs = Output(json), loaded_items.kind is MinimalPair
    _check_switch("answers" if is_pairs else "transfer", answers if is_pairs else transfer)
    more: Any = {"overwrite": overwrite, "token_budget": token_budget}
    if is_pairs:
        probe_pairs(output, load, loaded_items, out, transfer=transfer, **more)
    else:
        _measure(output, load, loaded_items, out, answers=answers, revision=revision, **more)


def _check_switch(name: str, given: bool) -> None:
    from xalign.errors import ArgumentError

    if given:
        kind = "choice tasks" if name == "answers" else "minimal pairs"
        raise ArgumentError(f"--{name} is for {kind}, and these are none; leave it out")


def _measure(
    output: Output,
    load: Callable[[], tuple[Any, Any]],
    items: Any,
    out: Path | None,
    *,
    answers: bool,
    revision: str | None,
    overwrite: bool,
    token_budget: int,
) -> None:
    """Measure choice tasks, answer them where asked, and print and save both."""
    from xalign.judging.answers import agreement, answer_items
    from xalign.measurement.items import measure_items
    from xalign.results.saved import check_folder

    if out is not None:
        check_folder(out, overwrite=overwrite)
    network, tokenizer = load()
    report = measure_items(network, tokenizer, items, token_budget=token_budget, revision=revision)
    solved = answer_items(network, tokenizer, items, token_budget=token_budget) if answers else None
    rows = [] if solved is None else agreement(report, solved)
    output.show(report.table(), {"alignment": report.to_rows(), "answers": rows})
    if rows and not output.as_json:
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
