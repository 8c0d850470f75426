"""`run_task`: measure one model revision on all pairs of a sweep, each of them once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import Timeout
from torch import nn

from xalign.errors import ReportError
from xalign.measurement import measure
from xalign.pairs.parallel import ParallelPairs
from xalign.results.locks import acquire
from xalign.sweep.plan import Plan, Task, is_done

# From model, revision, and whether recordings are measured, to the model and its tokenizer.
Load = Callable[[str, str | None, bool], tuple[nn.Module, Any]]
PATIENCE = 600.0  # seconds for which another process may measure the same task


def run_task(plan: Plan, task: Task, pairs: dict[str, ParallelPairs[Any]], load: Load) -> list[str]:
    """Measure one model revision on the pairs that have no report of it yet.

    A process that is killed leaves the reports that it has finished, and no part of another.

    Args:
        plan: The sweep.
        task: One of its tasks.
        pairs: Name -> sentences.
        load: What loads the model.

    Returns:
        The names of the pairs that were measured now.

    Raises:
        ReportError: Another process has measured the same task for ten minutes, or the disk is full.
        XAlignError: What loading or measuring refuses.
    """
    out = Path(plan.out)
    model_name, _, label = task.name.partition("/")
    (out / model_name).mkdir(parents=True, exist_ok=True)
    try:
        lock = acquire(out / model_name / f".{label}.lock", PATIENCE)
    except Timeout:
        raise ReportError(f"{task.name} is being measured by another process") from None
    try:
        todo = undone(plan, task, pairs)
        if not todo:
            return []
        model, tokenizer = load(task.model, task.revision, any(pairs[name].is_audio for name in todo))
        for name in todo:
            report = measure(
                *(model, tokenizer, pairs[name], plan.measuring.metrics),
                step=task.step,
                revision=task.revision,
                **plan.measuring.options,
            )
            report.save(task.folder(out, name), overwrite=True)
        return todo
    finally:
        lock.release()


def undone(plan: Plan, task: Task, pairs: dict[str, ParallelPairs[Any]]) -> list[str]:
    """Return the names of the pairs that a task has no report on."""
    out = Path(plan.out)
    return [
        name for name, some in pairs.items() if not is_done(task.folder(out, name), task, some.fingerprint)
    ]
