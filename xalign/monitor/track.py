"""`track`: measure the saved checkpoints of a run, and complete its history."""

import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar, Unpack

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ReportError, XAlignError
from xalign.measurement import Measurement, MeasureOptions
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.metrics.metric import resolve_metrics
from xalign.monitor.checkpoint_folders import ChangedError, checkpoints_of
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import NAME, History, folder_name
from xalign.results.report import AlignmentReport
from xalign.results.saved import check_folder
from xalign.warn import warn

__all__ = ["checkpoints_of", "track"]

Checkpoint = TypeVar("Checkpoint")
OnReport = Callable[[AlignmentReport], object]


def track(
    find: Callable[[], Mapping[int, Checkpoint]],
    load: Callable[[Checkpoint], tuple[nn.Module, PreTrainedTokenizerBase]],
    out: str | Path,
    pairs: ParallelPairs | str | Path = "bundled",
    metrics: Metrics = ("nasca",),
    *,
    save_reports: bool = True,
    follow: bool = False,
    poll: float = 30.0,
    until: int | None = None,
    ended: Callable[[Mapping[int, Checkpoint]], bool] | None = None,
    on_report: OnReport | None = None,
    **options: Unpack[MeasureOptions],
) -> History:
    """Measure every checkpoint that the history does not have, from the first step to the last.

    Each one is written to the history as soon as it is measured, so an interrupted call can be repeated and
    continues where it stopped. A checkpoint that cannot be loaded or measured, or that was deleted meanwhile,
    is left out with a warning.

    Args:
        find: A function that returns step -> checkpoint, such as `lambda: checkpoints_of("run")`.
        load: A function from a checkpoint to its model and tokenizer.
        out: The folder of `history.jsonl`, and of the reports under `step-00000200`. For a run that was
            monitored, this is its folder `alignment`.
        pairs: Parallel sentences, or what `load_pairs` takes. If the history has entries, they must be its
            sentences.
        metrics: As in `measure`. If the history has entries, they must be its metrics.
        save_reports: Keep reports, with their sentences, as well as the history.
        follow: Wait for new checkpoints, until interrupted.
        poll: Seconds between two looks.
        until: Measure no later step, and wait no longer once a checkpoint of this step or a later one is
            there.
        ended: A function from what was found to whether no more will come; called after each look.
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
    run = _TrackedRun(find, load, check_folder(out), pairs, metrics, options, save_reports, on_report)
    while True:
        found = find()
        run.measure({step: found[step] for step in found if until is None or step <= until})
        is_there = until is not None and any(step >= until for step in found)
        if not follow or is_there or (ended is not None and ended(found)):
            return run.history
        time.sleep(poll)


class _TrackedRun(Generic[Checkpoint]):
    """A run whose checkpoints are measured one after another."""

    def __init__(
        self,
        find: Callable[[], Mapping[int, Checkpoint]],
        load: Callable[[Checkpoint], tuple[nn.Module, PreTrainedTokenizerBase]],
        folder: Path,
        pairs: ParallelPairs | str | Path,
        metrics: Metrics,
        options: MeasureOptions,
        save_reports: bool,
        on_report: OnReport | None,
    ) -> None:
        self._find, self._load, self._folder = find, load, folder
        self._metrics, self._options = metrics, options
        self._save_reports, self._on_report = save_reports, on_report
        self.history = History(folder / NAME)
        self._pairs = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
        self._failed: set[int] = set()
        rows = [row for metric in resolve_metrics(metrics, METRICS) for row in metric.rows]
        # Before a model is loaded: places are not known yet.
        self.history.check({"fingerprint": self._pairs.fingerprint}, dict.fromkeys(rows))

    def measure(self, found: Mapping[int, Checkpoint]) -> None:
        """Measure the checkpoints that were not measured yet."""
        for step in sorted(found):
            self.history.refresh()  # the run itself may have measured the step, or another `track`
            if step in self.history.steps or step in self._failed:
                continue
            report = self._report_of(step, found[step])
            gc.collect()  # before the next model is loaded
            if report is None:
                continue
            # The report first: what is in the history is not measured again after an interruption.
            if self._save_reports:
                report.save(self._folder / folder_name(step), overwrite=True)
            try:
                self.history.insert(report)
            except ArgumentError:  # another process has inserted the step while it was measured here
                continue
            if self._on_report is not None:
                self._on_report(report)

    def _report_of(self, step: int, checkpoint: Checkpoint) -> AlignmentReport | None:
        """Return the report of one checkpoint, or None where it cannot be loaded or measured."""
        try:
            model, tokenizer = self._load(checkpoint)
            measurement = Measurement(model, tokenizer, self._pairs, self._metrics, **self._options)
            self.history.check(measurement.provenance, measurement.readings, measurement.scales)
            return measurement.run(step)
        except ReportError:
            raise
        except ChangedError as error:  # it may be saved again
            warn(f"step {step} is left out: {error}")
            return None
        except (XAlignError, OSError) as error:
            if step in self._find():  # or else it was deleted
                self._failed.add(step)
            warn(f"step {step} is left out: {error}")
            return None
