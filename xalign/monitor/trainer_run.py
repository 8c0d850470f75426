"""`TrainerRun`: measures a trainer's model during its run, and logs the results."""

from collections.abc import Collection, Iterable
from typing import Any, cast

from transformers.trainer_callback import TrainerControl, TrainerState

from xalign.monitor.hf_trainer import HuggingFaceTrainer, log_row, loss_settings, model_of, moment
from xalign.monitor.keep_best import KeepBest
from xalign.monitor.monitor import AlignmentMonitor
from xalign.monitor.report_log import ReportLog
from xalign.monitor.scalars import few_of, named, pooled_only, scalars
from xalign.plain_config import Config
from xalign.results.report import AlignmentReport


class TrainerRun:
    """Measures a trainer's model, at most once at each of its moments.

    Args:
        trainer: The trainer.
        monitor: What measures.
        report_log: What gives trackers pictures and tables.
        keep_best: What keeps the best checkpoint, if anything.
        always: Keys that every row of the log has, such as the value that selects the best model.

    Attributes:
        training: Whether the trainer trains.
        report: The last report, which may be of an evaluation outside training.
        values: Its values, under the keys of the log; empty if the model could not be measured.
    """

    def __init__(
        self,
        trainer: HuggingFaceTrainer,
        monitor: AlignmentMonitor,
        report_log: ReportLog,
        keep_best: KeepBest | None,
        always: Collection[str] = (),
    ) -> None:
        self._trainer, self._monitor = trainer, monitor
        self._report_log, self._keep_best, self._always = report_log, keep_best, always
        self.report: AlignmentReport | None = None
        self.values: dict[str, float] = {}
        self.training = self._can_save = False
        self._measured: tuple[int, int] | None = None
        self._resumed_at: int | None = None

    def begin(self, state: TrainerState) -> None:
        """Begin a run, or take up one that resumes."""
        step = state.global_step
        self._report_log.begin()
        if self._keep_best is not None:
            self._keep_best.begin(state)
        is_measured = self._monitor.begin(step, measured=step > 0)
        self.training = self._can_save = True
        self._resumed_at = step if is_measured else None
        self._measured = None
        self._note_missing(state)

    def end(self, state: TrainerState, control: TrainerControl, *, measure: bool) -> None:
        """End a run: measure where asked to, and log the last pictures and tables."""
        self._can_save = False  # no checkpoint is saved after the last step
        if measure:
            self.measure_and_log(state, control)
        self._monitor.complete()
        self._note_missing(state)
        self.training = False
        reports, step = self._monitor.reports, state.global_step
        if reports and self._monitor.is_first_process:
            with self._monitor.keeps_running("pictures", step, "trackers get no pictures and tables"):
                self._report_log.ended(reports[-1], step)
        if self._keep_best is not None:
            self._keep_best.end()

    def measure_and_log(self, state: TrainerState, control: TrainerControl) -> None:
        """Measure and log a row of its own, unless this was done at this moment."""
        if self.is_measured(state) or self._resumed_at == state.global_step:
            return
        self.measure(state, control)
        if self.values:
            with self._monitor.keeps_running("log", state.global_step, "the values could not be logged"):
                log_row(self._trainer, self.logged, control)

    def is_measured(self, state: TrainerState) -> bool:
        """Return whether it was measured, or failed to be, with the current weights."""
        return self._measured == moment(self._trainer, state)

    @property
    def logged(self) -> dict[str, float]:
        """The values for a row of the log: few, unless all are asked for."""
        if self.report is None:
            return {}
        values, always = self.values, {key: self.values[key] for key in self._always if key in self.values}
        if self._monitor.log_scalars == "few":
            prefix = "_".join(["eval", *filter(None, [self._monitor.name])])
            values = few_of(values, self.report, prefix) | always
        return pooled_only(values, list(self._monitor.measurement.pairs), always)

    def describe(self, measuring: Iterable[AlignmentMonitor]) -> None:
        """Give each tracker, once it has begun, the settings of the run.

        Args:
            measuring: All monitors of the trainer. The settings of its alignment loss are added to theirs.
        """

        def settings() -> Config:
            config = dict(loss_settings(self._trainer))
            for monitor in measuring:
                config |= monitor.settings
            return config

        if self._monitor.is_first_process:
            self._report_log.describe(settings)

    def measure(self, state: TrainerState, control: TrainerControl) -> None:
        """Measure, as part of the run where it trains."""
        monitor, step = self._monitor, state.global_step
        monitor.measurement.model = model_of(self._trainer)
        # Outside training the weights need not be those of the step, and where a run resumed its history has
        # the step already: such a report is not one of the run.
        is_of_the_run = self.training and step != self._resumed_at
        report = monitor.measure(step) if is_of_the_run else monitor.look(step)
        self._measured, self.values = moment(self._trainer, state), {}
        if report is not None:
            found = {named(key, monitor.name): value for key, value in scalars(report).items()}
            found = monitor.all_scalars if is_of_the_run else found
            self.report, self.values = report, {f"eval_{key}": value for key, value in found.items()}
        if report is not None and is_of_the_run:
            self._use(report, state, control)
        self._note_missing(state)

    def _use(self, report: AlignmentReport, state: TrainerState, control: TrainerControl) -> None:
        """Keep the checkpoint where it is the best, and log the pictures that are due."""
        monitor, step = self._monitor, state.global_step
        if self._keep_best is not None and self._can_save and step > 0:
            self._keep_best.consider(self.values, state, control)
        if monitor.is_first_process:
            with monitor.keeps_running("pictures", step, "trackers get no pictures and tables"):
                self._report_log.measured(report, len(monitor.reports) - 1, step)

    def _note_missing(self, state: TrainerState) -> None:
        """Have the trainer's state, which checkpoints hold, say what is missing."""
        name, missing = named("xalign", self._monitor.name), self._monitor.keeps_running.missing
        states = cast(dict[str, Any], state.stateful_callbacks)  # made a dict when the state is made
        states.pop(name, None)
        if missing:
            held = {what: list(steps) for what, steps in missing.items()}
            states[name] = {"args": {}, "attributes": {"missing": held}}
