"""`AlignmentCallback`: alignment in the logs of a Hugging Face or TRL trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from transformers import PreTrainedTokenizerBase
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy
from transformers.training_args import TrainingArguments

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.model.wrapped import has_adapter
from xalign.monitor.cadence import Every
from xalign.monitor.hf_trainer import (
    HuggingFaceTrainer,
    check_trainer,
    is_evaluation,
    log_row,
    model_of,
    moment,
    move_to_front,
    tokenizer_of,
)
from xalign.monitor.keep_best import KeepBest
from xalign.monitor.monitor import AlignmentMonitor
from xalign.monitor.regression_watch import OnRegression
from xalign.monitor.report_log import ReportLog, Trackers
from xalign.monitor.scalars import named, pooled_only, scalar_keys, scalars
from xalign.monitor.selection import check_selection, distinctive_names
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import History
from xalign.results.report import AlignmentReport
from xalign.trackers.tracker import Tracker


class AlignmentCallback(TrainerCallback):
    """Measures alignment while a `Trainer` or one of TRL's trainers trains, and observes only.

    Its values are logged under plain keys, such as `eval_nasca`, `eval_nasca_deu_Latn` and
    `eval_nasca_worst`, in the same row of `log_history` as the evaluation's own values. Every tracker
    of `report_to` gets them, and so do best-model selection and early stopping:
    `metric_for_best_model="nasca"` works. With several evaluation sets they are in the first one's row.
    Losses and weights are equal to the bit with and without the callback.

    When it is built it checks what can go wrong, and prints what one measurement costs. With several
    processes each has its own callback, as each has its own trainer; they share the forwards, and the first
    process writes.

    Args:
        trainer: The trainer that the callback will be added to.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        every: Measure every so many steps; `"auto"` measures as often as `max_share` allows, None only at
            start, end and evaluations.
        metrics: Names of metrics, `Metric` objects, or functions, as in `measure`.
        at_evaluate: Measure at each evaluation.
        at_start: Measure before the first step, though not where a run resumes.
        at_end: Measure after the last step.
        max_share: The largest share of the time, since the run began or was resumed, that measuring may take.
            `every="auto"` keeps to it, start, end and evaluations aside; where a fixed `every` takes more,
            one line says so.
        keep_best: A key, such as `"nasca"` or `"nasca_swh_Latn"`, by which to keep the best checkpoint in a
            run without evaluations, where the trainer selects none.
        on_regression: What to do where a language scores significantly worse than at its best so far:
            `"warn"`, `"ignore"`, or a function (metric, language, regression).
        heatmap_every: Give trackers a layer × language picture at every so many measurements; None only at
            the last one.
        log_text: Give trackers, at the end, the worst pairs with their sentences. Otherwise no text leaves
            the machine.
        name: Part of keys and folders, as in `eval_news_nasca`, where a trainer has several callbacks.
        save_reports: Keep each report, and not only the history, in the trainer's `output_dir`, under
            `alignment/step-00000200`.
        tokenizer: The model's tokenizer; the trainer's `processing_class` where None.
        trackers: `Tracker` objects of your own, which get pictures and tables beside those of `report_to`.
        **options: The options of `measure`.

    Attributes:
        report: The last report, which may be of an evaluation outside training.
        reports: The reports of the run so far.
        history: The numbers of the run so far, with what it was before it resumed.
        pairs: The pairs it measures on.

    Raises:
        ArgumentError: Nothing to measure at, no tokenizer, a best-model key that no evaluation will have or
            that is selected in the wrong direction, or a second callback without a name of its own.
        ModelError: A model split in a way that hides its states: ZeRO-3, FSDP1, tensor parallelism.
        ReportError: The folder cannot be written, or holds a history that cannot be continued.

    Example:
        >>> callback = AlignmentCallback(trainer, "bundled", every=3)
        xalign: one measurement is 4 languages × 200 pairs with eng_Latn, ... tokens in ... forwards
        >>> trainer.add_callback(callback)
        >>> _ = trainer.train()
        >>> [report.step for report in callback.reports]
        [0, 3, 4]
    """

    def __init__(
        self,
        trainer: HuggingFaceTrainer,
        pairs: ParallelPairs | str | Path,
        every: Every = None,
        metrics: Metrics = ("nasca",),
        at_evaluate: bool = True,
        at_start: bool = True,
        at_end: bool = True,
        *,
        max_share: float = 0.02,
        keep_best: str | None = None,
        on_regression: OnRegression = "warn",
        heatmap_every: int | None = None,
        log_text: bool = False,
        name: str = "",
        save_reports: bool = True,
        tokenizer: PreTrainedTokenizerBase | None = None,
        trackers: Sequence[Tracker[Any]] = (),
        **options: Unpack[MeasureOptions],
    ) -> None:
        check_trainer(trainer)
        if not (every is not None or at_evaluate or at_start or at_end):
            raise ArgumentError(
                "nothing to measure at: give every=N, or leave one of at_evaluate, at_start, at_end on"
            )
        if heatmap_every is not None:
            heatmap_every = whole_number("heatmap_every", heatmap_every, least=1)
        self._at_evaluate, self._at_start, self._at_end = at_evaluate, at_start, at_end
        self._trainer, self._name = trainer, name
        self._keep_best: KeepBest | None = None
        tokenizer = tokenizer_of(trainer, tokenizer)
        self._refuse_duplicates()
        found = Trackers(trainer.callback_handler.callbacks, trackers)
        self._monitor = AlignmentMonitor(
            *(model_of(trainer), tokenizer, pairs, metrics),
            every=every,
            max_share=max_share,
            save_dir=Path(str(trainer.args.output_dir)) / "alignment" / name,
            save_reports=save_reports,
            on_regression=on_regression,
            name=name,
            **options,
        )
        self._prepare_selection(keep_best)
        self._monitor.measurement.probe()
        key = f"alignment-{name}" if name else "alignment"
        self._report_log = ReportLog(found, key, heatmap_every=heatmap_every, log_text=log_text)
        self.report: AlignmentReport | None = None
        self._training = self._can_save = False
        self._values: dict[str, float] = {}
        self._measured: tuple[int, int] | None = None
        self._resumed_at: int | None = None
        if self._monitor.is_first_process:
            for line in (self._monitor.cost_line, *found.prepare(trainer.args.report_to)):
                print(line)  # noqa: T201

    @property
    def reports(self) -> list[AlignmentReport]:
        """The reports of the run so far."""
        return self._monitor.reports

    @property
    def history(self) -> History:
        """The numbers of the run so far."""
        return self._monitor.history

    @property
    def pairs(self) -> ParallelPairs:
        """The pairs it measures on."""
        return self._monitor.measurement.pairs

    # Where rows of its own are due.

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move before the callbacks that must see the values, and take up what a resumed run has."""
        move_to_front(self._trainer, self, AlignmentCallback)
        self._refuse_duplicates()
        step = state.global_step
        if self._keep_best is not None:
            self._keep_best.begin(state)
        is_measured = self._monitor.begin(step, measured=step > 0)
        self._training = self._can_save = True
        self._resumed_at = step if is_measured else None
        self._measured = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure step 0: now that all callbacks have begun, and after an evaluation on start."""
        if self._at_start and state.global_step == 0:
            self._measure_and_log(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure at the cadence and at the end, unless an evaluation is about to do it in its own row."""
        epoch_ends = state.epoch is not None and float(state.epoch).is_integer()
        evaluation_follows = control.should_evaluate or (
            args.eval_strategy == IntervalStrategy.EPOCH and epoch_ends
        )
        if self._is_due(state) and not (self._at_evaluate and evaluation_follows):
            self._measure_and_log(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure what was left to an evaluation that does not come."""
        if self._is_due(state) and not (self._at_evaluate and control.should_evaluate):
            self._measure_and_log(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure where a run was stopped, unless the weights are no longer those of its last step."""
        best_loaded = args.load_best_model_at_end and state.best_model_checkpoint is not None
        self._can_save = False
        if self._at_end and not best_loaded:
            self._measure_and_log(state, control)
        self._training = False
        if self.reports and self._monitor.is_first_process:
            self._report_log.ended(self.reports[-1], state.global_step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Delete what was kept as the best before."""
        if self._keep_best is not None:
            self._keep_best.saved(state)

    # In the row of an evaluation.

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move before the other callbacks, for an evaluation outside training."""
        move_to_front(self._trainer, self, AlignmentCallback)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the values to an evaluation's row, before the trackers read it."""
        if logs is not None and self._is_evaluation(logs):
            if not self._training or self._measured != moment(self._trainer, state):
                self._measure(state, control)
            pooled = pooled_only(self._values, list(self.pairs))
            logs.update(pooled)
            state.log_history[-1].update(pooled)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the values to what selects the best model and stops early."""
        if metrics is not None and self._is_evaluation(metrics):
            metrics.update(self._values)

    def _is_evaluation(self, row: dict[str, Any]) -> bool:
        return self._at_evaluate and is_evaluation(self._trainer, row)

    def _is_due(self, state: TrainerState) -> bool:
        ends = self._at_end and state.global_step >= state.max_steps
        return self._monitor.cadence.is_due(state.global_step) or ends

    def _measure_and_log(self, state: TrainerState, control: TrainerControl) -> None:
        if self._measured == moment(self._trainer, state) or self._resumed_at == state.global_step:
            return
        log_row(self._trainer, pooled_only(self._measure(state, control), list(self.pairs)), control)

    def _measure(self, state: TrainerState, control: TrainerControl) -> dict[str, float]:
        """Measure, as part of the run where it trains; return the values that an evaluation gets."""
        monitor = self._monitor
        monitor.measurement.model = model_of(self._trainer)
        step = state.global_step
        # Outside training the weights need not be those of the step, and where a run resumed its history has
        # the step already: such a report is not one of the run.
        is_of_the_run = self._training and step != self._resumed_at
        self.report = monitor.measure(step) if is_of_the_run else monitor.measurement.run(step)
        if is_of_the_run:
            values = monitor.scalars
        else:
            values = {named(key, self._name): value for key, value in scalars(self.report).items()}
        self._measured = moment(self._trainer, state)
        self._values = {f"eval_{key}": value for key, value in values.items()}
        if is_of_the_run and self._keep_best is not None and self._can_save and step > 0:
            self._keep_best.consider(self._values, state, control)
        if is_of_the_run and monitor.is_first_process:
            self._report_log.measured(self.report, len(self.reports) - 1, step)
        return self._values

    def _prepare_selection(self, keep_best: str | None) -> None:
        """Check what selects the best model against the keys that there will be."""
        measurement, args = self._monitor.measurement, self._trainer.args
        keys = scalar_keys(
            *(measurement.metrics, list(measurement.pairs), self._name),
            over_base=has_adapter(model_of(self._trainer)),
        )
        check_selection(
            args,
            keys if self._at_evaluate else {},
            distinctive_names(
                self._name, [one.name for one in measurement.metrics if one.name not in METRICS]
            ),
            f"with these metrics, pairs and at_evaluate={self._at_evaluate}",
        )
        if keep_best is not None:
            self._keep_best = KeepBest(keep_best, args, keys)
            self._refuse_duplicates()

    def _refuse_duplicates(self) -> None:
        """Refuse another callback of the same name, or a second one that keeps a best checkpoint."""
        others = [
            callback
            for callback in self._trainer.callback_handler.callbacks
            if isinstance(callback, AlignmentCallback) and callback is not self
        ]
        keeping = [other._keep_best.key for other in others if other._keep_best is not None]
        if self._keep_best is not None and keeping:
            raise ArgumentError(
                f"keep_best={self._keep_best.key!r} beside another callback's keep_best={keeping[0]!r}: a "
                "trainer knows one best checkpoint; leave one of them out"
            )
        if self._name in [other._name for other in others]:
            raise ArgumentError(
                f"the trainer has an AlignmentCallback with name={self._name!r} already, whose keys and "
                "folder would be the same: give this one a name of its own, or one callback all metrics"
            )
