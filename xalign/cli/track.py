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
    Pivot,
    Template,
    TemplatePooled,
    TokenBudget,
    TrustRemoteCode,
    listed,
)

_SETTINGS = ("pool_special_tokens", "truncate")  # beside the template, which has an option


def track(
    run: Annotated[str, typer.Argument(help="Folder with checkpoints; with --revisions, a Hub id.")],
    pairs: Annotated[
        str | None,
        typer.Option(help="As for measure. Without it what the history was measured on, or 'bundled'."),
    ] = None,
    languages: Languages = None,
    pivot: Pivot = "eng_Latn",
    n: FirstPairs = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="As for measure, separated by commas. Without it those of the history, or nasca."),
    ] = None,
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

    Completes the history that a callback left there, on its sentences and with its settings where its reports
    were kept, or begins one. Interrupted, it goes on where it was. With --follow a second machine can watch a
    long run.

    Example: `xalign track runs/pretraining --pairs flores200/devtest --languages deu,swh --n 100`
    """
    from xalign.checks import positive
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
    if named is None and not checkpoints_of(run) and not follow:
        raise ArgumentError(f"run={run!r} holds no finished checkpoint-N; is it the output_dir of a run?")
    if named is not None and Path(run).is_dir() and checkpoints_of(run):
        raise ArgumentError(f"run={run!r} holds checkpoints: leave --revisions out, or name a model")
    folder = out or Path(run) / "alignment"
    console = Console()
    before = _last_report(folder)
    settings: dict[str, Any] = {"template": template, "template_pooled": template_pooled}
    if before is not None and template is None and not template_pooled:
        settings = {name: before.provenance[name] for name in (*settings, *_SETTINGS)}
    if before is not None and pairs is None and languages is None and n is None:
        text = before.pairs
    else:
        text = load_pairs(pairs or "bundled", None if languages is None else listed(languages), pivot, n)
    asked = listed(metrics) if metrics else before.measured if before is not None else ["nasca"]

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

    def show(report: Any) -> None:
        scores = ", ".join(f"{metric} {report.score(metric):.3f}" for metric in report.measured)
        console.print(f"step {report.step}: {scores}", highlight=False)

    if follow:
        console.print(f"looking into {run} every {poll:g} s; Ctrl-C ends", markup=False, highlight=False)
    history = measure_all(
        lambda: checkpoints_of(run) if named is None else named,
        load,
        folder,
        text,
        asked,
        follow=follow,
        poll=poll,
        on_report=show,
        token_budget=token_budget,
        **settings,
    )
    if not history.entries:
        raise ArgumentError(f"run={run!r}: none of its checkpoints could be measured")
    table = Table("metric", "language", "emerged at", "peak", "at step", "best layer", "last", "", box=None)
    for row in (one for one in emergence(history) if one["layer"] == "mean"):
        table.add_row(
            row["metric"],
            *(row["language"], "–" if row["emerged_at"] is None else str(row["emerged_at"])),
            *(f"{row['peak']:.3f}", str(row["peak_step"]), str(row["best_layer"]), f"{row['last']:.3f}"),
            "fell since" if row["regressed"] else "",
        )
    console.print(table)
    console.print(f"{len(history)} steps in {folder / 'history.jsonl'}", markup=False, highlight=False)


def _last_report(folder: Path) -> Any:
    """The report of the history's last step, or None: there is no history, or reports were not kept."""
    from xalign.results.history import NAME, History

    history = History(folder / NAME)
    return history.report(history.steps[-1]) if history.entries else None


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
