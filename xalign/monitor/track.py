"""`track`: measures the saved checkpoints of a run, and completes its history."""

import gc
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Unpack

from xalign.errors import ReportError, XAlignError
from xalign.measurement import Measurement, MeasureOptions
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import NAME, History, folder_name
from xalign.results.report import AlignmentReport
from xalign.results.saved import check_folder

Checkpoint = TypeVar("Checkpoint")


def track(
    find: Callable[[], Mapping[int, Checkpoint]],
    load: Callable[[Checkpoint], tuple[Any, Any]],
    out: str | Path,
    pairs: ParallelPairs | str | Path = "bundled",
    metrics: Metrics = ("nasca",),
    *,
    save_reports: bool = True,
    follow: bool = False,
    poll: float = 30.0,
    on_report: Callable[[AlignmentReport], object] | None = None,
    **options: Unpack[MeasureOptions],
) -> History:
    """Measures every checkpoint that the history does not have, from the first step to the last.

    Each is in the history as soon as it is measured, so that what is interrupted goes on where it was. One
    that cannot be loaded or measured is warned about and left out.

    Args:
        find: Gives step -> checkpoint, such as `lambda: checkpoints_of("run")`.
        load: From a checkpoint to model and tokenizer.
        out: Folder of `history.jsonl`, and of the reports under `step-00000200`; of a run that was monitored,
            its `alignment`.
        pairs: Parallel sentences, or what `load_pairs` takes; those of the history, where it has any.
        metrics: As in `measure`, and those of the history.
        save_reports: Whether reports are kept, with their sentences, or only the history.
        follow: Waits for new checkpoints, until it is interrupted.
        poll: Seconds between two looks.
        on_report: Called with each report.
        **options: The options of `measure`.

    Returns:
        The history, in the order of steps.

    Raises:
        ReportError: The folder cannot be written, or holds a history of other pairs, metrics or settings.

    Example:
        >>> found = {0: model, 100: model}
        >>> history = track(lambda: found, lambda checkpoint: (checkpoint, tokenizer), "tracked", pairs)
        >>> history.steps
        [0, 100]
    """
    folder = check_folder(out)
    history = History(folder / NAME)
    loaded_pairs = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
    rows = [row for metric in resolve_metrics(metrics, METRICS) for row in metric.rows]
    history.check({"fingerprint": loaded_pairs.fingerprint}, dict.fromkeys(rows))  # before a model is loaded
    failed: set[int] = set()
    while True:
        waiting = {step: one for step, one in find().items() if step not in {*history.steps, *failed}}
        for step in sorted(waiting):
            try:
                model, tokenizer = load(waiting[step])
                measurement = Measurement(model, tokenizer, loaded_pairs, metrics, **options)
                history.check(measurement.provenance, measurement.readings)
                report = measurement.run(step)
            except ReportError:
                raise
            except (XAlignError, OSError) as error:
                failed.add(step)
                warnings.warn(f"step {step} is left out: {error}", UserWarning, stacklevel=2)
                continue
            del model, measurement
            gc.collect()  # before the next one is loaded
            history.insert(report)
            if save_reports:
                report.save(folder / folder_name(step), overwrite=True)
            if on_report is not None:
                on_report(report)
        if not follow:
            return history
        time.sleep(poll)


def checkpoints_of(folder: str | Path) -> dict[int, Path]:
    """The checkpoints that a trainer has saved in a folder and finished writing, by their steps.

    Raises:
        ReportError: There is no such folder.

    Example:
        >>> checkpoints_of(".")
        {}
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReportError(f"{str(folder)!r} is no folder; give the output_dir of a run")
    found = {}
    for path in folder.glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", path.name)
        # The trainer writes its state last.
        if step and (path / "trainer_state.json").is_file():
            found[int(step[1])] = path
    return found
