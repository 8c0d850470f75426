"""`xalign sweep SPEC` and `xalign collect DIR`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xalign.cli.options import Json, path
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.sweep.collect import Collected


def sweep(
    spec: Annotated[Path, typer.Argument(parser=path, help="YAML file: models, pairs, metrics, out.")],
    out: Annotated[Path | None, typer.Option(parser=path, help="In place of the file's.")] = None,
    engine: Annotated[str | None, typer.Option(help="In place of the file's: local, slurm or ray.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="In place of the file's.")] = None,
    json: Json = False,
) -> None:
    """Measure many models, revisions and checkpoints, each of them once.

    What is missing is listed before anything runs. A task is one model revision: it writes its own reports,
    and is left out where they are there. A task that fails does not stop the others; the exit code is then 1.
    At the end all reports are collected, as `xalign collect` does.

    Example: `xalign sweep sweep.yaml --workers 2`
    """
    from xalign.cli.sweep_worker import loader_of, run_rank
    from xalign.sweep.collect import collect as gather
    from xalign.sweep.run import sweep as run
    from xalign.sweep.spec import load_spec

    said = load_spec(spec, out=None if out is None else str(out), engine=engine, workers=workers)
    output = Output(json)
    with output.no_other_stdout():
        swept = run(
            *(said, loader_of(said.loading)),
            exists=problem_with,
            elsewhere=("xalign.cli.sweep_worker", run_rank),
            on_task=lambda name, error: output.say(f"{name}: {'measured' if error is None else error}"),
        )
    output.say(
        f"{len(swept.measured)} measured, {len(swept.before)} done before, {len(swept.failed)} failed"
        + (f", {len(swept.submitted)} submitted" if swept.submitted else "")
    )
    collected = gather(said.out) if swept.measured or swept.before else None
    if collected is not None:
        _say(output, collected)
    output.show_json(
        {
            "measured": swept.measured,
            "done_before": swept.before,
            "failed": swept.failed,
            "submitted": swept.submitted,
            "table": None if collected is None else str(collected.table),
        }
    )
    if swept.submitted:
        output.say(f"their logs are in {swept.logs}; when they are done: xalign collect {said.out}")
    if swept.failed:
        for name, error in swept.failed.items():
            typer.echo(f"xalign: {name} failed: {error}", err=True)
        raise typer.Exit(1)


def collect(
    folder: Annotated[Path, typer.Argument(parser=path, help="Folder with reports, such as a sweep's.")],
    json: Json = False,
) -> None:
    """Merge all reports in a folder into one table, and those that have steps into histories.

    Example: `xalign collect sweeps/pythia`
    """
    from xalign.sweep.collect import collect as gather

    output = Output(json)
    collected = gather(folder)
    _say(output, collected)
    output.show_json(
        {
            "reports": collected.reports,
            "rows": collected.rows,
            "table": str(collected.table),
            "histories": list(map(str, collected.histories)),
            "broken": collected.broken,
        }
    )


def _say(output: Output, collected: "Collected") -> None:
    for history in collected.histories:
        output.say(f"wrote {history}")
    output.say(f"wrote {collected.table}: {collected.rows} rows of {collected.reports} reports")


def problem_with(model: str, revision: str | None) -> str | None:
    """Return what is wrong with a model on the Hub and its revision, or None where it can be loaded."""
    from transformers import PretrainedConfig

    try:
        PretrainedConfig.get_config_dict(model, revision=revision)
    except (OSError, ValueError) as error:
        at = "" if revision is None else f" at revision {revision!r}"
        return f"model {model!r}{at}: {str(error).strip().splitlines()[0]:.200}"
    return None
