"""`AlignmentCallback`: alignment in the logs of a Hugging Face or TRL trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from transformers import PreTrainedTokenizerBase
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy
from transformers.training_args import TrainingArguments

from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.measurement.options import MeasureOptions, check_options
from xalign.measurement.run import Metrics
from xalign.model.distributed import Ranks
from xalign.monitor.binding import Binding, Settings, When, bind
from xalign.monitor.cadence import Every
from xalign.monitor.hf_trainer import HuggingFaceTrainer, NotMeasured, is_evaluation, move_to_front
from xalign.monitor.keeps_running import KeepsRunning
from xalign.monitor.monitor import AlignmentMonitor
from xalign.monitor.peers import refuse_duplicates
from xalign.monitor.privacy import keep_private
from xalign.monitor.regression_watch import OnRegression
from xalign.monitor.scalars import LogScalars, checked_log_scalars, checked_name
from xalign.monitor.which_trainer import calling_trainer, refuse_another, trainer_and_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import History
from xalign.results.report import AlignmentReport
from xalign.trackers.tracker import Tracker


class AlignmentCallback(TrainerCallback):
    """Measures alignment while a `Trainer` or one of TRL's trainers trains, without changing the training.

    Its values are logged under plain keys, such as `eval_nasca`, `eval_nasca_deu_Latn` and
    `eval_nasca_worst`, in the same row of `log_history` as the evaluation's own values. Every tracker of
    `report_to` gets them, and so do best-model selection and early stopping: `metric_for_best_model="nasca"`
    works. With several evaluation sets, the values are in the row of the first one. Losses and weights are
    the same, bit for bit, with and without the callback.

    Give it to the trainer as `Trainer(..., callbacks=[AlignmentCallback(pairs)])`, or build it for an
    existing trainer and add it: `trainer.add_callback(AlignmentCallback(trainer, pairs))`.

    As soon as it has its trainer, it checks what can go wrong, and prints what one measurement costs. From
    the first step on, no error while it measures, writes or draws ends the run. The callback warns once and
    tries again at the next measurement; `missing` lists what could not be done. With several processes, each
    has its own callback, as each has its own trainer; they share the forward passes, and the first one
    writes.

    Args:
        trainer: The trainer that the callback will be added to. Leave it out if the callback is passed in a
            trainer's `callbacks`; then it uses that trainer.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        every: Measure every this many steps. `"auto"` measures as often as `max_share` allows, `"log"` after
            steps 1, 2, 4, 8 and so on, and None only at start, end and evaluations.
        metrics: Names of metrics, `Metric` objects, or functions, as in `measure`.
        at_evaluate: Measure at each evaluation.
        at_start: Measure before the first step, unless the run resumes.
        at_end: Measure after the last step.
        at_steps: Measure after these steps as well.
        max_share: The largest share of the time, since the run began or was resumed, that measuring may take.
            `every="auto"` keeps to it, not counting start, end and evaluations; if a fixed `every` takes
            more, one printed line says so.
        keep_best: A key, such as `"nasca"` or `"nasca_swh_Latn"`, by which to keep the best checkpoint in a
            run without evaluations, in which the trainer selects none.
        on_regression: What to do if a language scores significantly worse than at its best so far: `"warn"`,
            `"ignore"`, or a function (metric, language, regression).
        heatmap_every: Send trackers a layer × language picture every this many measurements; None sends one
            only at the last.
        log_text: Send trackers, at the end, the worst pairs with their sentences, and let the trainer's
            `push_to_hub` upload the reports. Otherwise no text leaves the machine: with `push_to_hub`
            everything is kept under `_alignment` instead of `alignment`, which the upload leaves out.
        log_scalars: `"few"` logs the mean, the worst and each language, and the value that a best model is
            selected by; `"all"` also gap, best layer, difference to the base model, and cost.
        name: A name in keys and folders, as in `eval_news_nasca`; needed if a trainer has several callbacks.
        save_reports: Keep each report as well as the history in the trainer's `output_dir`, under
            `alignment/step-00000200`.
        tokenizer: The model's tokenizer; if None, the trainer's `processing_class`.
        trackers: `Tracker` objects of your own, which get pictures and tables like those of `report_to`.
        **options: The options of `measure`.

    Attributes:
        report: The last report, which may be of an evaluation outside training.
        reports: The reports of the run so far.
        history: The numbers of the run so far, including those from before it was resumed.
        pairs: The pairs it measures on.
        missing: What could not be measured or written -> the steps. Checkpoints hold this too, in
            `stateful_callbacks` of their `trainer_state.json`.

    Raises:
        ArgumentError: No step to measure at, no tokenizer, a best-model key that no evaluation will have or
            that is selected in the wrong direction, a second callback without a name of its own, or arguments
            that differ between processes.
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
        trainer: HuggingFaceTrainer | ParallelPairs | str | Path,
        pairs: ParallelPairs | str | Path | None = None,
        every: Every = None,
        metrics: Metrics = ("nasca",),
        at_evaluate: bool = True,
        at_start: bool = True,
        at_end: bool = True,
        *,
        at_steps: Sequence[int] = (),
        max_share: float = 0.02,
        keep_best: str | None = None,
        on_regression: OnRegression = "warn",
        heatmap_every: int | None = None,
        log_text: bool = False,
        log_scalars: LogScalars = "few",
        name: str = "",
        save_reports: bool = True,
        tokenizer: PreTrainedTokenizerBase | None = None,
        trackers: Sequence[Tracker[Any]] = (),
        **options: Unpack[MeasureOptions],
    ) -> None:
        with Ranks(shared=True).raise_everywhere():
            check_options(AlignmentCallback, options)
        given, chosen = trainer_and_pairs(trainer, pairs)
        self.name, self.log_text = checked_name(name), boolean("log_text", log_text)
        self._when = When(every, at_steps, at_evaluate, at_start, at_end, max_share)
        self._settings = Settings(
            pairs=chosen,
            metrics=metrics,
            options=options,
            tokenizer=tokenizer,
            trackers=trackers,
            keep_best=keep_best,
            on_regression=on_regression,
            heatmap_every=heatmap_every,
            save_reports=save_reports,
            log_scalars=checked_log_scalars(log_scalars),
        )
        self._binding: Binding | None = None
        if given is not None:
            self._bind(given)

    def _bind(self, trainer: HuggingFaceTrainer) -> Binding:
        peers = self._peers_on(trainer)
        refuse_duplicates(self, peers)
        if trainer.args.push_to_hub and not self.log_text:
            self._keep_private(trainer, in_training=False)
        self._binding = bind(self._settings, self._when, trainer, self, peers)
        return self._binding

    @property
    def _bound(self) -> Binding:
        """The trainer and what measures it; where there is none yet, that of the trainer that calls."""
        if self._binding is not None:
            return self._binding
        trainer = calling_trainer(self)
        if trainer is None:
            raise ArgumentError(
                "this AlignmentCallback has no trainer yet; pass it to one, as in Trainer(callbacks=[...])"
            )
        return self._bind(trainer)

    @property
    def report(self) -> AlignmentReport | None:
        """The last report, which may be of an evaluation outside training."""
        return self._bound.run.report

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

    @property
    def missing(self) -> dict[str, list[int]]:
        """What could not be measured or written -> the steps."""
        return self._keeps_running.missing

    @property
    def best_key(self) -> str | None:
        """The key by which it keeps the best checkpoint; None if it keeps none."""
        keep_best = None if self._binding is None else self._binding.keep_best
        return None if keep_best is None else keep_best.key

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the trainer that was made with this callback among its `callbacks`."""
        _ = self._bound

    # Where rows of its own are due.

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move in front of the callbacks that must see the values, and take up what a resumed run has."""
        refuse_another(self, self._bound.trainer)
        move_to_front(self._bound.trainer, self, AlignmentCallback)
        refuse_duplicates(self, self._peers_on(self._bound.trainer))
        self._bound.run.begin(state)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure step 0, after all callbacks have begun and after an evaluation on start."""
        with self._keeps_running.hook("on_epoch_begin", state.global_step):
            self._describe()
            if self._when.at_start and state.global_step == 0:
                self._bound.run.measure_and_log(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure when a step is due and at the end, unless an evaluation that follows will do so."""
        epoch_ends = state.epoch is not None and float(state.epoch).is_integer()
        evaluation_follows = control.should_evaluate or (
            args.eval_strategy == IntervalStrategy.EPOCH and epoch_ends
        )
        with self._keeps_running.hook("on_step_end", state.global_step):
            if self._is_due(state) and not (self._when.at_evaluate and evaluation_follows):
                self._bound.run.measure_and_log(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure if a measurement was left to an evaluation that did not take place."""
        with self._keeps_running.hook("on_epoch_end", state.global_step):
            if self._is_due(state) and not (self._when.at_evaluate and control.should_evaluate):
                self._bound.run.measure_and_log(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure at the step where the run stopped, unless the weights are no longer those of that step."""
        best_loaded = args.load_best_model_at_end and state.best_model_checkpoint is not None
        with self._keeps_running.hook("on_train_end", state.global_step):
            self._bound.run.end(state, control, measure=self._when.at_end and not best_loaded)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Delete the checkpoint that was kept as the best before."""
        with self._keeps_running.hook("on_save", state.global_step):
            if self._bound.keep_best is not None:
                self._bound.keep_best.saved(state)

    # In the row of an evaluation.

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move in front of the other callbacks, for an evaluation outside training."""
        with self._keeps_running.hook("on_prediction_step", state.global_step):
            move_to_front(self._bound.trainer, self, AlignmentCallback)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the values to an evaluation's row, before the trackers read it."""
        with self._keeps_running.hook("on_log", state.global_step):
            self._describe()  # the first row may be that of an evaluation before the first step
            if logs is not None and self._when.at_evaluate and is_evaluation(self._bound.trainer, logs):
                if not self._bound.run.training or not self._bound.run.is_measured(state):
                    self._bound.run.measure(state, control)
                logs.update(self._bound.run.logged)
                state.log_history[-1].update(self._bound.run.logged)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the values to what selects the best model and stops early."""
        with self._keeps_running.hook("on_evaluate", state.global_step):
            if metrics is not None and self._when.at_evaluate and is_evaluation(self._bound.trainer, metrics):
                metrics.update(self._bound.run.values)
                key = self._bound.selecting
                if self._bound.run.training and key is not None and key not in metrics:
                    NotMeasured(self._bound.trainer, key)

    def on_push_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move sentences to a folder that the upload leaves out, before it begins.

        Raises:
            ReportError: They cannot be moved. During training they are then renamed or deleted instead, and
                the run ends only if that fails too, because no text may leave the machine.
        """
        self._keep_private(self._bound.trainer, in_training=self._bound.run.training)

    def _keep_private(self, trainer: HuggingFaceTrainer, *, in_training: bool) -> None:
        everyone = [self, *self._peers_on(trainer)]
        folder = keep_private(trainer.args, everyone, in_training=in_training)
        if folder is None:
            return
        for callback in everyone:
            bound = callback._binding
            if bound is not None and not callback.log_text:
                bound.monitor.move(folder / callback.name)
                if bound.keep_best is not None:
                    bound.keep_best.move(folder)

    def _peers_on(self, trainer: HuggingFaceTrainer) -> "list[AlignmentCallback]":
        """Return the other callbacks of this class on a trainer."""
        callbacks = trainer.callback_handler.callbacks
        return [one for one in callbacks if isinstance(one, AlignmentCallback) and one is not self]

    def _describe(self) -> None:
        """Give trackers the settings of the run, once they have begun."""
        everyone = [self, *self._peers_on(self._bound.trainer)]
        self._bound.run.describe([one._monitor for one in everyone])

    @property
    def _monitor(self) -> AlignmentMonitor:
        return self._bound.monitor

    @property
    def _keeps_running(self) -> KeepsRunning:
        return self._monitor.keeps_running

    def _is_due(self, state: TrainerState) -> bool:
        ends = self._when.at_end and state.global_step >= state.max_steps
        return self._monitor.cadence.is_due(state.global_step) or ends
