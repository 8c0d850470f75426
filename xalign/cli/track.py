"""`xalign track RUN`."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    FirstPairs,
    Languages,
    Pairs,
    Pivot,
    Template,
    TemplatePooled,
    TokenBudget,
    TrustRemoteCode,
    listed,
)


def track(
    run: Annotated[str, typer.Argument(help="Folder with checkpoints; with --revisions, a Hub id.")],
    pairs: Pairs = "bundled",
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    metrics: Annotated[str, typer.Option(help="As for measure; separated by commas.")] = "nasca",
    revisions: Annotated[
        str | None,
        typer.Option(help="Revisions of a model with their steps in them, like step1000,step2000."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the history; RUN/alignment by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for new checkpoints, until Ctrl-C.")] = False,
    poll: Annotated[float, typer.Option(help="Seconds between two looks with --follow.")] = 30.0,
    template: Template = None,
    template_pooled: TemplatePooled = False,
    token_budget: TokenBudget = 4096,
    tokenizer: Annotated[
        str | None, typer.Option(help="Hub id or folder, where the checkpoints have none.")
    ] = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure the checkpoints of a run that were not measured yet, and say when each language emerged.

    Completes the history that a callback left there, or begins one. Interrupted, it goes on where it was.
    With --follow a second machine can watch a long run.

    Example: `xalign track runs/pretraining --pairs flores200/devtest --languages deu,swh --n 100`
    """
    from xalign.arguments import positive
    from xalign.cli.loading import load_model
    from xalign.errors import ArgumentError
    from xalign.monitor.track import checkpoints_of
    from xalign.monitor.track import track as measure_all
    from xalign.pairs.load import load_pairs
    from xalign.results.emergence import emergence

    positive("poll", poll)
    if revisions is not None and out is None:
        raise ArgumentError("--revisions needs --out, the folder of the history")
    named = None if revisions is None else _steps_of(listed(revisions))
    text = load_pairs(pairs, None if languages is None else listed(languages), pivot, n)
    if named is None:
        checkpoints_of(run)  # an error now, not after the work

    def load(checkpoint: Any) -> tuple[Any, Any]:
        where = {"name": run, "revision": checkpoint} if named is not None else {"name": str(checkpoint)}
        return load_model(
            **where,
            tokenizer=tokenizer,
            dtype=dtype.value,  # type: ignore[arg-type]
            device=device,
            trust_remote_code=trust_remote_code,
            progress=sys.stderr.isatty(),
        )

    console = Console()
    asked = listed(metrics)

    def show(report: Any) -> None:
        scores = ", ".join(f"{metric} {report.score(metric):.3f}" for metric in report.measured)
        console.print(f"step {report.step}: {scores}", highlight=False)

    folder = out or Path(run) / "alignment"
    history = measure_all(
        lambda: checkpoints_of(run) if named is None else named,
        load,
        folder,
        text,
        asked,
        follow=follow,
        poll=poll,
        on_report=show,
        template=template,
        template_pooled=template_pooled,
        token_budget=token_budget,
    )
    if not history.entries:
        raise ArgumentError(f"run={run!r} holds no finished checkpoint-N; is it the output_dir of a run?")
    table = Table("metric", "language", "emerged at", "peak", "at step", "best layer", "last", "", box=None)
    for metric in history.metrics:
        for row in (one for one in emergence(history, metric) if one["layer"] == "mean"):
            table.add_row(
                *(metric, row["language"], "–" if row["emerged_at"] is None else str(row["emerged_at"])),
                *(f"{row['peak']:.3f}", str(row["peak_step"]), str(row["best_layer"]), f"{row['last']:.3f}"),
                "fell since" if row["regressed"] else "",
            )
    console.print(table)
    console.print(f"{len(history)} steps in {folder / 'history.jsonl'}", markup=False, highlight=False)


def _steps_of(revisions: list[str]) -> dict[int, str]:
    """Step -> revision, from the number behind "step" in its name, or the last one."""
    from xalign.errors import ArgumentError

    found: dict[int, str] = {}
    for revision in revisions:
        numbers = re.findall(r"step[-_]?(\d+)", revision) or re.findall(r"\d+", revision)
        if not numbers:
            raise ArgumentError(f"revisions: {revision!r} has no step in its name, like step1000")
        if int(numbers[-1]) in found:
            raise ArgumentError(f"revisions: {found[int(numbers[-1])]!r} and {revision!r} have one step")
        found[int(numbers[-1])] = revision
    return found
