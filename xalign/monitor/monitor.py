"""`AlignmentMonitor`: the same measurement repeated along any training loop."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.measurement.options import MeasureOptions, check_options
from xalign.measurement.run import Measurement, Metrics
from xalign.measurement.unknown import warn_of_unknown_languages
from xalign.model.distributed import Ranks
from xalign.model.wrapped import adapter_disabled, has_adapter
from xalign.monitor.cadence import Cadence, Every
from xalign.monitor.history_writer import HistoryWriter
from xalign.monitor.keeps_running import KeepsRunning
from xalign.monitor.regression_watch import OnRegression, RegressionWatch
from xalign.monitor.safe_writer import SafeWriter
from xalign.monitor.scalars import (
    LogScalars,
    checked_log_scalars,
    checked_name,
    few_of,
    named,
    over_base,
    scalar_keys,
    scalars,
)
from xalign.monitor.settings import settings_of
from xalign.pairs.parallel import ParallelPairs, count_range
from xalign.plain_config import Plain
from xalign.renamed import warn_deprecated
from xalign.results.history import History
from xalign.results.report import AlignmentReport
from xalign.results.saved import check_folder
from xalign.results.unknown import MOST_UNKNOWN as MOST_UNKNOWN
from xalign.statistics.regressions import Regression


class AlignmentMonitor:
    """Measures a model on the same pairs at the steps of a training loop.

    Everything is checked and tokenized when the monitor is built; between measurements the model carries no
    hook. With several processes of `torch.distributed`, call it in all of them: they share the forwards, all
    get the report, and the first one writes.

    To resume a loop, build its monitor with the same `save_dir` and keep calling `step(n)`: the history is
    continued, and its entries from step n on are replaced. A loop that starts at step 0 begins a new history;
    what an earlier run left in the folder moves to `earlier-1`.

    Args:
        model: The model being trained.
        tokenizer: Its tokenizer.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        metrics: Names of metrics, `Metric` objects, or functions, as in `measure`.
        every: Measure in `step(n)` if n is a multiple of this number. `"auto"` measures as often as
            `max_share` allows; `"log"` after steps 1, 2, 4, 8 and so on; None at every call, unless
            `at_steps` is given.
        at_steps: Measure after these steps as well.
        max_share: The largest share of the time that measuring may take. `"auto"` keeps to it; if a fixed
            `every` takes more, one printed line says so.
        save_dir: Keep `history.jsonl` in this folder, and each report under `step-00000200`.
        save_reports: Keep reports, with their sentences and bits, as well as the history.
        on_regression: What to do if a language scores significantly worse than at its best so far (see
            `find_regressions`): `"warn"`, `"ignore"`, or a function (metric, language, regression), called in
            the first process.
        name: Put in front of the keys of `scalars`.
        log_scalars: What `scalars` holds: `"few"`, the mean, the worst and each language, or `"all"`.
        **options: The options of `measure`.

    Attributes:
        reports: The reports so far.
        base: The report of the model without its adapter, if it has one. It is measured once, since those
            weights do not change.
        measurement: The measurement that is run again and again.
        cadence: At which steps to measure.

    Raises:
        ArgumentError: As for `measure`, and for an invalid cadence.
        ReportError: `save_dir` cannot be written, or holds a history that cannot be continued.

    Example:
        >>> monitor = AlignmentMonitor(model, tokenizer, pairs, every=100)
        >>> for step in range(101):
        ...     _ = monitor.step(step)  # after the training step
        >>> [report.step for report in monitor.reports]
        [0, 100]
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        pairs: ParallelPairs | str | Path = "bundled",
        metrics: Metrics = ("nasca",),
        *,
        every: Every = None,
        at_steps: Sequence[int] = (),
        max_share: float = 0.02,
        save_dir: str | Path | None = None,
        save_reports: bool = True,
        on_regression: OnRegression = "warn",
        name: str = "",
        log_scalars: LogScalars = "few",
        **options: Unpack[MeasureOptions],
    ) -> None:
        self._ranks = Ranks(shared=True)
        with self._ranks.raise_everywhere():
            check_options(AlignmentMonitor, options)
        self.cadence = Cadence(every, max_share, at_steps=at_steps, ranks=self._ranks)
        self._watch = RegressionWatch(on_regression)
        self.name, self.log_scalars = checked_name(name), checked_log_scalars(log_scalars)
        self.measurement = Measurement(model, tokenizer, pairs, metrics, distributed=True, **options)
        scalar_keys(self.measurement.metrics, list(self.measurement.pairs))  # refuses keys that collide
        warn_of_unknown_languages(self.measurement.unknown_shares, "curves")
        with self._ranks.raise_everywhere():
            folder = check_folder(save_dir) if save_dir is not None and self.is_first_process else None
            self._writer = HistoryWriter(folder, save_reports=save_reports)
        self.reports: list[AlignmentReport] = []
        self.base: AlignmentReport | None = None
        self._begun = False
        self.keeps_running = KeepsRunning(self._ranks)
        self._safe_writer = SafeWriter(self._writer, self.keeps_running)
        when = {"every": every, "at_steps": sorted(self.cadence.at_steps), "max_share": max_share}
        self._ranks.refuse_differences(when | {"name": name})

    @property
    def is_first_process(self) -> bool:
        """Whether this process writes."""
        return self._ranks.index == 0

    @property
    def save_dir(self) -> Path | None:
        """Where history and reports are kept; None in processes that do not write."""
        return self._writer.save_dir

    @property
    def history(self) -> History:
        """The run so far, including the part before it was resumed."""
        return self._writer.history

    @property
    def regressions(self) -> list[tuple[int, str, str, Regression]]:
        """Every regression reported: step, metric, language, regression."""
        return self._watch.found

    @property
    def falls(self) -> list[tuple[int, str, str, Regression]]:
        """Deprecated: the name of `regressions` in 0.1.0."""
        warn_deprecated("AlignmentMonitor.falls", "regressions")
        return self.regressions

    def step(self, n: int) -> AlignmentReport | None:
        """Measure if step n is due and is not the last one measured.

        Args:
            n: The number of training steps done.

        Returns:
            The report, or None if no measurement was due or it failed.
        """
        n = whole_number("n", n)
        is_first = not self._begun
        if is_first:
            self.begin(n)
        elif self.reports and self.reports[-1].step == n:
            return None
        every, listed = self.cadence.every, self.cadence.at_steps
        is_due = (every is None and not listed) or (is_first and every == "auto") or self.cadence.is_due(n)
        return self.measure(n) if is_due else None

    def begin(self, n: int, *, measured: bool = False) -> bool:
        """Begin at step n, or continue from there.

        Args:
            n: The step at which the loop stands. At 0 a new history begins.
            measured: Keep the entry of step n itself, instead of replacing it.

        Returns:
            Whether the history holds step n.
        """
        self._begun = True
        self.reports = []
        is_new = n == 0 and not measured
        with self._ranks.raise_everywhere():
            if not is_new:
                self.history.check(
                    self.measurement.provenance, self.measurement.readings, self.measurement.scales
                )
        self._safe_writer.begin(n if measured else n - 1, is_new=is_new)
        with self.keeps_running("history", n, f"{self.save_dir} cannot be brought to this step"):
            self._safe_writer.take_up()
        with self.keeps_running("comparisons", n, "earlier reports cannot be compared with"):
            self._watch.begin(None if is_new else self.history)
        entries = [] if is_new else self.history.entries
        before = entries[-1]["cost"]["seconds"] if entries else math.nan
        is_measured, cost = self._ranks.broadcast((n in [entry["step"] for entry in entries], before))
        self.cadence.begin(n, cost)
        return is_measured

    def measure(self, n: int) -> AlignmentReport | None:
        """Measure now, whatever the cadence, and keep the report under step n.

        An error while measuring or writing does not end the loop: the monitor warns, and tries again at the
        next measurement.

        Args:
            n: The number of training steps done.

        Returns:
            The report, or None if the model could not be measured.

        Raises:
            ArgumentError: A step before the last one measured.
        """
        n = whole_number("n", n)
        if not self._begun:
            self.begin(n)
        last = self.reports[-1].step if self.reports else None
        if last is not None and n < last:
            raise ArgumentError(
                f"n={n} is before step {last}, the last one measured: count steps over the whole run"
            )
        started = time.perf_counter()
        report = self._report(n)
        if report is not None:
            self.reports = [*(earlier for earlier in self.reports if (earlier.step or 0) < n), report]
            if self.is_first_process:
                self._safe_writer.keep(report)
                with self.keeps_running("comparisons", n, "regressions are not looked for"):
                    self._watch.look(report)
        self.cadence.measured(n, time.perf_counter() - started)
        advice = self.cadence.advice(n)
        if advice and self.is_first_process:
            with self.keeps_running("advice", n, f"cannot print {advice!r}"):
                print(advice)  # noqa: T201
        return report

    @property
    def scalars(self) -> dict[str, float]:
        """The values of the last report to log: for `log_scalars="few"`, mean, worst and each language."""
        values = self.all_scalars
        return (
            values if self.log_scalars == "all" or not values else few_of(values, self.reports[-1], self.name)
        )

    @property
    def all_scalars(self) -> dict[str, float]:
        """Every number of the last report, as `log_scalars="all"` logs them.

        These are its pooled values; with an adapter, `nasca_over_base`, the difference from the model without
        it; and what measuring cost: `alignment_seconds`, and `alignment_share` of the time.
        """
        if not self.reports:
            return {}
        last = self.reports[-1]
        values = scalars(last) | ({} if self.base is None else over_base(last, self.base))
        values |= {"alignment_seconds": last.cost.seconds, "alignment_share": self.cadence.share}
        return {named(key, self.name): value for key, value in values.items()}

    @property
    def settings(self) -> dict[str, Plain]:
        """The settings to log to a tracker's config: `measure_metrics`, `measure_every` and so on.

        They hold no sentence. The callback passes them to the trackers of `report_to`; in a loop of your own,
        pass them on yourself, as in `wandb.init(config=monitor.settings)`.
        """
        return settings_of(self.measurement, self.cadence, self.name)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows of all reports so far, with their steps."""
        return [row for report in self.reports for row in report.to_rows()]

    @property
    def cost_line(self) -> str:
        """What one measurement costs, in words."""
        pairs, measurement = self.measurement.pairs, self.measurement
        each = count_range(pairs.counts.values())
        return (
            f"xalign: one measurement is {len(pairs)} languages × {each} pairs with {pairs.pivot}, "
            f"{measurement.tokens:,} tokens in {measurement.forwards} forwards"
        )

    def look(self, n: int) -> AlignmentReport | None:
        """Measure at step n without keeping the report; return None if that was not possible."""
        report: AlignmentReport | None = None
        with self.keeps_running("measurements", n, "the model could not be measured", together=True):
            report = self.measurement.run(n)
        return report  # noqa: RET504

    def complete(self) -> None:
        """Write what could not be written before, as at the end of a run, and report what still cannot be."""
        if self.is_first_process and self.reports:
            self._safe_writer.end(self.reports[-1].step or 0)

    def move(self, folder: Path) -> None:
        """Continue in another folder, to which everything was moved."""
        if self.is_first_process:
            self._safe_writer.move(folder)

    def _report(self, n: int) -> AlignmentReport | None:
        """Return the report of a measurement, or None where it failed in one of the processes."""
        report = self.look(n)
        if report is None or self.base is not None or not has_adapter(self.measurement.model):
            return report
        problem = "the model could not be measured without its adapter"
        with (
            self.keeps_running("base", n, problem, together=True),
            adapter_disabled(self.measurement.model),
        ):
            self.base = self.measurement.run()
        return report
