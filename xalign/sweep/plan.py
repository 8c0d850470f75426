"""`Plan`: the tasks of a sweep, each of them one model revision, and the file that its workers read."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from xalign.errors import ArgumentError, ReportError
from xalign.files import read_regular
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics
from xalign.monitor.checkpoint_folders import checkpoints_of
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import folder_name
from xalign.results.locks import locked
from xalign.results.report import AlignmentReport
from xalign.results.saved import REPORT
from xalign.schema import Count, Digest, Fields, Text, checked, read_json
from xalign.storage import writable_folder, write_whole
from xalign.sweep.spec import FolderName, Loading, Measuring, ModelFields, Spec
from xalign.warn import warn

PLAN, SETTINGS = "plan.json", "sweep.json"
_MOST = 2**28  # bytes
_STEP = re.compile(r"(?:step|checkpoint|iter)[-_]?0*(\d+)")
Exists = Callable[[str, str | None], str | None]


class Task(Fields):
    """One model revision.

    Attributes:
        name: Its model's folder and its own, such as `pythia/step-00001000`.
        model: A folder, or a Hub id.
        revision: On the Hub.
        step: The training step, where it has one.
    """

    name: Text
    model: Text
    revision: Text | None = None
    step: Count | None = None

    def folder(self, out: Path, pairs: str) -> Path:
        """Return the folder of its report on some pairs."""
        model, _, label = self.name.partition("/")
        return out / model / pairs / label


class Plan(Fields):
    """What the workers of a sweep read.

    Attributes:
        out: The folder of all reports.
        tasks: What is measured.
        measuring: How it is measured.
        loading: How models are loaded.
        folder: The working directory, which relative paths belong to.
        schema_version: Of this file.
    """

    out: Text
    tasks: list[Task]
    measuring: Measuring
    loading: Loading
    folder: Text = msgspec.field(default_factory=os.getcwd)
    schema_version: Literal[1] = 1

    def save(self, folder: Path) -> None:
        """Write the file into a folder."""
        write_whole(folder / PLAN, msgspec.json.encode(self), ReportError)

    @classmethod
    def load(cls, folder: str | Path) -> "Plan":
        """Read the file in a folder.

        Raises:
            ArgumentError: It is none.
        """
        found: Plan = checked(cls, read_json(read_regular(Path(folder) / PLAN, _MOST)))
        return found


class _Settings(Fields):
    """What all reports of a folder agree in, whichever spec asked for them."""

    measuring: Measuring
    fingerprints: dict[FolderName, Digest | str]
    schema_version: Literal[1] = 1


def plan_sweep(spec: Spec, exists: Exists) -> Plan:
    """Return the tasks of a sweep, after all that they need was seen to be there.

    Args:
        spec: What is asked for.
        exists: From a model and its revision to None, or to what is wrong with it.

    Raises:
        ArgumentError: Models, revisions or checkpoints are missing: all of them are listed. Or two have one
            name.
    """
    tasks: list[Task] = []
    missing: list[str] = []
    for given in spec.models:
        model = ModelFields(model=given) if isinstance(given, str) else given
        try:
            tasks += _tasks_of(model)
        except (ArgumentError, ReportError) as error:
            missing.append(str(error))
    for task in tasks:
        if not Path(task.model).is_dir() and (problem := exists(task.model, task.revision)) is not None:
            missing.append(problem)
    if missing:
        raise ArgumentError(
            f"{len(missing)} of what is to be measured is missing, so nothing was measured:\n- "
            + "\n- ".join(missing)
        )
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArgumentError(f"models: two would be written to {twice[0]}; give one of them a `name`")
    return Plan(out=spec.out, tasks=tasks, measuring=spec.measuring, loading=spec.loading)


def _tasks_of(given: ModelFields) -> list[Task]:
    name = given.name or _folder_name_of(given.model)
    if given.revisions is not None and given.checkpoints is not None:
        raise ArgumentError(f"model {given.model!r} has both revisions and checkpoints; name one of them")
    if given.checkpoints is not None:
        found = checkpoints_of(given.model)
        steps = sorted(found) if given.checkpoints == "all" else given.checkpoints
        if not steps:
            raise ArgumentError(f"{given.model!r} holds no finished checkpoint")
        if absent := [str(step) for step in steps if step not in found]:
            raise ArgumentError(f"{given.model!r} holds no finished checkpoint of step {', '.join(absent)}")
        return [Task(name=f"{name}/{folder_name(s)}", model=str(found[s]), step=s) for s in steps]
    if Path(given.model).is_dir() and not any(
        (Path(given.model) / file).is_file() for file in ("config.json", "adapter_config.json")
    ):
        raise ArgumentError(
            f"{given.model!r} holds no config.json; for the folder of a run add checkpoints: all"
        )
    if given.revisions is None:
        return [Task(name=f"{name}/main", model=given.model)]
    return [_task_of(name, given.model, revision) for revision in given.revisions]


def _task_of(name: str, model: str, revision: str) -> Task:
    found = _STEP.search(revision)
    step = None if found is None else int(found[1])
    label = _folder_name_of(revision) if step is None else folder_name(step)
    return Task(name=f"{name}/{label}", model=model, revision=revision, step=step)


def _folder_name_of(name: str) -> str:
    """Return a name of one folder, from a Hub id, a revision, or the last part of a path."""
    path = Path(name)
    short = path.resolve().name if path.is_dir() else name
    return re.sub(r"[^A-Za-z0-9._-]", "--", short).lstrip(".-")[:200] or "model"


def claim_folder(plan: Plan) -> dict[str, ParallelPairs[Any]]:
    """Load the pairs of a plan, and see that its folder holds reports that agree with it.

    Raises:
        ReportError: The folder cannot be written, or was measured with other metrics, options or sentences.
    """
    pairs = {name: one.load() for name, one in plan.measuring.pairs.items()}
    out = writable_folder(plan.out, ReportError)
    resolve_metrics(plan.measuring.metrics, METRICS)
    now = _Settings(
        measuring=plan.measuring, fingerprints={name: one.fingerprint for name, one in pairs.items()}
    )
    with locked(out / SETTINGS):
        if (out / SETTINGS).exists():
            now = _agreeing(out, now)
        write_whole(out / SETTINGS, msgspec.json.encode(now), ReportError)
    return pairs


def _agreeing(out: Path, now: _Settings) -> _Settings:
    try:
        before = checked(_Settings, read_json(read_regular(out / SETTINGS, _MOST)))
    except (OSError, ArgumentError) as error:
        raise ReportError(f"{out / SETTINGS} is broken ({error}); name another `out`") from None
    for name in ("metrics", "options", "dtype"):
        was, asked = getattr(before.measuring, name), getattr(now.measuring, name)
        if was != asked:
            raise ReportError(
                f"out={str(out)!r} was measured with {name}={was!r}, not {asked!r}; name another"
            )
    for name, fingerprint in now.fingerprints.items():
        if before.fingerprints.get(name, fingerprint) != fingerprint:
            raise ReportError(
                f"out={str(out)!r} holds reports on other sentences as {name!r}; name them or `out` otherwise"
            )
    before.measuring.pairs |= now.measuring.pairs
    before.fingerprints |= now.fingerprints
    return before


def is_done(folder: Path, task: Task, fingerprint: str) -> bool:
    """Return whether a report is there, whole, and of this step on these sentences."""
    if not (folder / REPORT).is_file():
        return False
    try:
        report = AlignmentReport.load(folder)
    except ReportError as error:
        warn(f"{task.name} is measured again: {error}")
        return False
    return report.step == task.step and report.pairs.fingerprint == fingerprint
