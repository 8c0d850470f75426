"""`sweep`: run the tasks that are not done yet, and say what became of each."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xalign.errors import ArgumentError, ReportError
from xalign.files import free_path
from xalign.sweep.engines import ENGINES, Engine, Job
from xalign.sweep.plan import Exists, claim_folder, plan_sweep
from xalign.sweep.spec import Spec
from xalign.sweep.task import Load, run_task, undone

Elsewhere = tuple[str, Callable[..., None]]
LOGS = "_runs"  # the folder in `out` of plans and logs


@dataclass(frozen=True)
class Swept:
    """What became of the tasks of a sweep.

    Attributes:
        before: Names of those that were done before.
        measured: Names of those that were done now.
        failed: Name -> what went wrong.
        submitted: Names of those that will run elsewhere.
        logs: The folder of logs; None where nothing was to be done.
    """

    before: list[str]
    measured: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    logs: Path | None = None


def sweep(
    spec: Spec,
    load: Load,
    *,
    exists: Exists = lambda _model, _revision: None,
    elsewhere: Elsewhere | None = None,
    on_task: Callable[[str, str | None], object] = lambda _name, _error: None,
) -> Swept:
    """Measure all model revisions of a sweep that have no report yet.

    Every task writes its own reports, and a whole report is the mark that it is done. So a call that was
    interrupted or killed can be repeated.

    Args:
        spec: What is asked for.
        load: From a model, its revision and whether recordings are measured, to model and tokenizer.
        exists: From a model that is no folder, and its revision, to None, or to what is wrong with it.
        elsewhere: How other processes take part, which `load` cannot be given to: a module that, run with
            the folder of a plan, is a worker as `Job.command` describes it; and `Job.rank`, with the folder
            of the plan as one more argument `folder`.
        on_task: Called with the name of each task that ends here, and its error or None.

    Raises:
        ArgumentError: What is to be measured is missing, or `elsewhere` where it is needed.
        ReportError: The folder cannot be written, or holds reports that do not agree with these.

    Example:
        >>> from xalign.sweep.spec import load_spec
        >>> _ = Path("one.yaml").write_text("{models: [gpt2], pairs: {few: {n: 5}}, out: swept}")
        >>> swept = sweep(load_spec("one.yaml"), lambda name, revision, is_audio: (model, tokenizer))
        >>> swept.measured
        ['gpt2/main']
    """
    engine, (worker, rank) = _engine_of(spec, elsewhere)
    plan = plan_sweep(spec, exists)
    pairs = claim_folder(plan)
    tasks = {task.name: task for task in plan.tasks if undone(plan, task, pairs)}
    before = [task.name for task in plan.tasks if task.name not in tasks]
    if not tasks:
        return Swept(before)
    plan.tasks = list(tasks.values())
    folder, failed = _new_folder(Path(spec.out) / LOGS), _Failed(on_task)
    plan.save(folder)
    engine.run(
        Job(
            folder=folder,
            names=list(tasks),
            workers=spec.workers,
            here=lambda name: run_task(plan, tasks[name], pairs, load),
            command=[sys.executable, "-m", worker, str(folder.resolve())],
            rank=partial(rank, folder=str(folder.resolve())),
            said=failed.said,
            options=spec.engine_options,
        )
    )
    if not engine.waits:
        return Swept(before, submitted=list(tasks), logs=folder)
    for name in [name for name, task in tasks.items() if undone(plan, task, pairs)]:
        failed.errors.setdefault(name, f"it left no report; see the logs in {folder}")
    return Swept(before, [name for name in tasks if name not in failed.errors], failed.errors, logs=folder)


class _Failed:
    """Notes which tasks have failed."""

    def __init__(self, on_task: Callable[[str, str | None], object]) -> None:
        self.errors: dict[str, str] = {}
        self._on_task = on_task

    def said(self, name: str, error: str | None) -> None:
        """Note how a task ended."""
        if error is not None:
            self.errors[name] = error
        self._on_task(name, error)


def _engine_of(spec: Spec, elsewhere: Elsewhere | None) -> tuple[Engine, Elsewhere]:
    """Return the engine of a sweep, and how other processes take part.

    Raises:
        ArgumentError: It needs other processes, and they cannot.
    """
    engine = ENGINES[spec.engine]
    if elsewhere is None and (spec.workers > 1 or not engine.at_home):
        raise ArgumentError(
            f"engine={spec.engine!r} with workers={spec.workers} needs other processes, which cannot be "
            "given this `load`; run `xalign sweep` in a shell"
        )
    return engine, elsewhere or ("", _nowhere)


def _nowhere(**_about: Any) -> None:
    """Stand in for a task that runs elsewhere, where none does."""


def _new_folder(within: Path) -> Path:
    """Make the next folder, also where another sweep makes one at this moment."""
    within.mkdir(exist_ok=True)
    while True:
        path = free_path(within, "run")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise ReportError(f"{path} cannot be written: {error.strerror or error}") from None
        return path
