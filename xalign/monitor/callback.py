"""`AlignmentCallback`: alignment in the logs of a Hugging Face or TRL trainer."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Unpack

from transformers import PreTrainedTokenizerBase
from transformers.trainer_callback import (
    DefaultFlowCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.trainer_utils import IntervalStrategy
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement import MeasureOptions
from xalign.monitor.monitor import AlignmentMonitor, checked_every
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.scores import METRICS


class AlignmentCallback(TrainerCallback):
    """Measures alignment while a `Trainer` or one of TRL's trainers trains, and observes only.

    Its values stand under plain keys, `eval_nasca`, `eval_nasca_deu_Latn`, `eval_nasca_worst`, in the same
    row of `log_history` as the evaluation's, in every tracker of `report_to`, and before best-model selection
    and early stopping: `metric_for_best_model="nasca"` works. Losses and weights are equal to the bit with
    and without it.

    Built, it checks what can go wrong and prints what one measurement costs.

    Args:
        trainer: The trainer it will be added to.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        every: Measures every so many steps; None measures at evaluations only.
        metrics: Names of metrics, as in `measure`.
        at_evaluate: Measures at each evaluation (one evaluation set).
        at_start: Measures before the first step.
        at_end: Measures after the last step.
        save_reports: Keeps each report in the trainer's `output_dir`, under `alignment/step-00000200`.
        tokenizer: The model's tokenizer; the trainer's `processing_class` where None.
        **options: The options of `measure`.

    Attributes:
        report: The last report, also one of an evaluation outside training.
        reports: The reports of the run so far.

    Raises:
        ArgumentError: Nothing to measure at, several evaluation sets, several processes, no tokenizer.

    Example:
        >>> callback = AlignmentCallback(trainer, "bundled", every=2)
        xalign: one measurement is 4 languages × 200 pairs with eng_Latn, ... tokens in ... forwards
        >>> trainer.add_callback(callback)
        >>> _ = trainer.train()
        >>> [report.step for report in callback.reports]
        [0, 2, 4]
    """

    def __init__(
        self,
        trainer: Any,
        pairs: ParallelPairs | str | Path,
        every: int | None = None,
        metrics: Sequence[str] = ("nasca",),
        at_evaluate: bool = True,
        at_start: bool = True,
        at_end: bool = True,
        *,
        save_reports: bool = True,
        tokenizer: PreTrainedTokenizerBase | None = None,
        **options: Unpack[MeasureOptions],
    ) -> None:
        for needed in ("callback_handler", "model", "args", "evaluate"):
            if not hasattr(trainer, needed):
                raise ArgumentTypeError(
                    f"trainer must be a transformers Trainer, not {type(trainer).__name__}"
                )
        self._every = checked_every(every)
        self._at_evaluate, self._at_start, self._at_end = at_evaluate, at_start, at_end
        if not (every or at_evaluate or at_start or at_end):
            raise ArgumentError(
                "nothing to measure at: give every=N, or leave one of at_evaluate, at_start, at_end on"
            )
        if at_evaluate and isinstance(trainer.eval_dataset, dict):
            raise ArgumentError(
                f"eval_dataset holds {len(trainer.eval_dataset)} sets, and one is supported; pass one set, "
                "or at_evaluate=False with every=N"
            )
        if trainer.args.world_size > 1:
            raise ArgumentError(f"the run has {trainer.args.world_size} processes; one is supported")
        processing = tokenizer if tokenizer is not None else trainer.processing_class
        if processing is None:
            raise ArgumentError("the trainer has no processing_class; pass tokenizer=")
        self._trainer = trainer
        self._refuse_a_second()
        self._monitor = AlignmentMonitor(
            trainer.model,
            getattr(processing, "tokenizer", processing),
            pairs,
            metrics,
            save_dir=Path(trainer.args.output_dir) / "alignment" if save_reports else None,
            **options,
        )
        self._check_selection(trainer.args)
        self._monitor.measurement.probe()
        self.report: AlignmentReport | None = None
        self._training = False
        self._values: dict[str, float] = {}
        self._measured: tuple[int, int] | None = None
        print(self._monitor.cost_line)  # noqa: T201

    def _check_selection(self, args: TrainingArguments) -> None:
        """Refuses a best-model selection by a metric of alignment that no evaluation will have."""
        name = (args.metric_for_best_model or "").removeprefix("eval_")
        measurement = self._monitor.measurement
        keys = [
            f"{metric}{part}"
            for metric in (measurement.metrics if self._at_evaluate else ())
            for part in ("", "_worst", *(f"_{code}" for code in measurement.pairs))
        ]
        if name.split("_")[0] in METRICS and name not in keys:
            raise ArgumentError(
                f"metric_for_best_model={args.metric_for_best_model!r} will be in no evaluation; with these "
                f"metrics, pairs and at_evaluate={self._at_evaluate} there are: {', '.join(keys) or 'none'}"
            )

    @property
    def reports(self) -> list[AlignmentReport]:
        """The reports of the run so far."""
        return self._monitor.reports

    @property
    def pairs(self) -> ParallelPairs:
        """The pairs it measures on."""
        return self._monitor.measurement.pairs

    # Where rows of its own are due.

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Goes in front of the callbacks that must see its values."""
        self._go_in_front()
        self._refuse_a_second()
        self._training, self._measured = True, None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures step 0: now that all callbacks have begun, and after an evaluation on start."""
        if self._at_start and state.global_step == 0:
            self._measure_and_log(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures at the cadence and at the end, unless an evaluation is about to do it in its own row."""
        epoch_ends = state.epoch is not None and float(state.epoch).is_integer()
        evaluation_follows = control.should_evaluate or (
            args.eval_strategy == IntervalStrategy.EPOCH and epoch_ends
        )
        if self._is_due(state) and not (self._at_evaluate and evaluation_follows):
            self._measure_and_log(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures what was left to an evaluation that does not come."""
        if self._is_due(state) and not (self._at_evaluate and control.should_evaluate):
            self._measure_and_log(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures where a run was stopped, unless the weights are no longer those of its last step."""
        best_loaded = args.load_best_model_at_end and state.best_model_checkpoint is not None
        if self._at_end and not best_loaded:
            self._measure_and_log(state, control)
        self._training = False

    def _moment(self, state: TrainerState) -> tuple[int, int]:
        """The step and the weights' version: after a run that broke off, weights may change at its step."""
        return state.global_step, sum(parameter._version for parameter in self._trainer.model.parameters())

    def _refuse_a_second(self) -> None:
        others = [
            callback
            for callback in self._trainer.callback_handler.callbacks
            if isinstance(callback, AlignmentCallback) and callback is not self
        ]
        if others:
            raise ArgumentError(
                "the trainer has an AlignmentCallback already, whose keys and reports are the same: give one "
                "all metrics, or trainer.remove_callback(AlignmentCallback) first"
            )

    def _is_due(self, state: TrainerState) -> bool:
        at_cadence = self._every is not None and state.global_step % self._every == 0
        return at_cadence or (self._at_end and state.global_step >= state.max_steps)

    def _measure_and_log(self, state: TrainerState, control: TrainerControl) -> None:
        if self._measured == self._moment(state):
            return
        values = self._measure(state)
        # A trainer's own log method may average and clear its running metrics, and every log switches
        # should_log off.
        from transformers import Trainer

        should_log = control.should_log
        Trainer.log(self._trainer, dict(values))
        control.should_log = should_log

    # In the row of an evaluation.

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Goes in front, for an evaluation outside training."""
        self._go_in_front()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds its values to an evaluation's row, before the trackers read it."""
        if logs is not None and self._is_evaluation(logs):
            if not self._training or self._measured != self._moment(state):
                self._measure(state)
            logs.update(self._values)
            state.log_history[-1].update(self._values)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds its values to what selects the best model and stops early."""
        if metrics is not None and self._is_evaluation(metrics):
            metrics.update(self._values)

    def _is_evaluation(self, logs: dict[str, Any]) -> bool:
        """Whether a row is an evaluation's under the plain prefix; other prefixes are left alone."""
        return self._at_evaluate and "eval_runtime" in logs

    def _measure(self, state: TrainerState) -> dict[str, float]:
        self._monitor.measurement.model = self._trainer.model
        if self._training:
            self._monitor.measure(state.global_step)
            self.report = self._monitor.reports[-1]
        else:  # the weights need not be those of the step, so this is no report of the run
            self.report = self._monitor.measurement.run(state.global_step)
        self._measured = self._moment(state)
        self._values = {f"eval_{key}": value for key, value in self.report.summary().items()}
        return self._values

    def _go_in_front(self) -> None:
        """Moves before all callbacks but the one that decides what happens at a step."""
        callbacks = self._trainer.callback_handler.callbacks
        ahead = list(takewhile(lambda c: isinstance(c, DefaultFlowCallback | AlignmentCallback), callbacks))
        if self not in ahead:
            # The handler is walking through this list: what moves is only this callback, from where the walk
            # stands.
            if self not in callbacks:
                raise ArgumentError(
                    "this AlignmentCallback was made for another trainer; make one for this trainer"
                )
            callbacks.remove(self)
            callbacks.insert(len(ahead), self)
