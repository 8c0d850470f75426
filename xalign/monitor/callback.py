"""`AlignmentCallback`: alignment in the logs of a Hugging Face or TRL trainer."""

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

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.model.wrapped import has_adapter
from xalign.monitor.cadence import Every
from xalign.monitor.monitor import AlignmentMonitor, OnRegression
from xalign.monitor.scalars import MOST_LANGUAGES, named, pooled_only, scalar_keys, scalars
from xalign.monitor.selection import KeepBest, check_selection
from xalign.monitor.trackers import Trackers, go_offline_without_login, scores_table, worst_pairs_table
from xalign.pairs.parallel import ParallelPairs
from xalign.results.history import History
from xalign.results.report import AlignmentReport

# Evaluations of others have keys that begin like these: only a selection by our own is ours to judge.
SHARED_NAMES = ("retrieval", "margin")


class AlignmentCallback(TrainerCallback):
    """Measures alignment while a `Trainer` or one of TRL's trainers trains, and observes only.

    Its values stand under plain keys, `eval_nasca`, `eval_nasca_deu_Latn`, `eval_nasca_worst`, in the same
    row of `log_history` as the evaluation's, in every tracker of `report_to`, and before best-model selection
    and early stopping: `metric_for_best_model="nasca"` works. Of several evaluation sets they stand in the
    first. Losses and weights are equal to the bit with and without it.

    Built, it checks what can go wrong and prints what one measurement costs. With several processes each has
    its own, as it has its own trainer; they share the forwards, and the first writes.

    Args:
        trainer: The trainer it will be added to.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        every: Measures every so many steps; `"auto"` as often as `max_share` allows; None only at start, end
            and evaluations.
        metrics: Names of metrics, as in `measure`.
        at_evaluate: Measures at each evaluation.
        at_start: Measures before the first step, not where a run resumes.
        at_end: Measures after the last step.
        max_share: The largest share of the time, since the run began or was resumed, that measuring may take:
            kept to with `every="auto"` beside start, end and evaluations, and said once where a number takes
            more.
        keep_best: A key, such as `"nasca"` or `"nasca_swh_Latn"`, by which the best checkpoint is kept in a
            run without evaluations, where the trainer selects none.
        on_regression: What to do where a language falls significantly: `"warn"`, `"ignore"`, or a function
            (metric, language, fall).
        heatmap_every: Gives trackers a layer × language picture at every so many measurements; None at the
            last.
        log_text: Gives trackers, at the end, the worst pairs with their sentences. No text leaves the machine
            otherwise.
        name: Goes into keys and folders, `eval_news_nasca`, where a trainer has several callbacks.
        save_reports: Keeps each report, and not only the history, in the trainer's `output_dir`, under
            `alignment/step-00000200`.
        tokenizer: The model's tokenizer; the trainer's `processing_class` where None.
        **options: The options of `measure`.

    Attributes:
        report: The last report, also one of an evaluation outside training.
        reports: The reports of the run so far.
        history: The numbers of the run so far, what it was before it resumed included.
        pairs: The pairs it measures on.

    Raises:
        ArgumentError: Nothing to measure at, no tokenizer, a best-model key that no evaluation will have, or
            a second callback without a name of its own.
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
        trainer: Any,
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
        **options: Unpack[MeasureOptions],
    ) -> None:
        for needed in ("callback_handler", "model", "args", "evaluate"):
            if not hasattr(trainer, needed):
                raise ArgumentTypeError(
                    f"trainer must be a transformers Trainer, not {type(trainer).__name__}"
                )
        self._at_evaluate, self._at_start, self._at_end = at_evaluate, at_start, at_end
        if not (every is not None or at_evaluate or at_start or at_end):
            raise ArgumentError(
                "nothing to measure at: give every=N, or leave one of at_evaluate, at_start, at_end on"
            )
        if heatmap_every is not None:
            heatmap_every = whole_number("heatmap_every", heatmap_every, least=1)
        processing = tokenizer if tokenizer is not None else trainer.processing_class
        if processing is None:
            raise ArgumentError("the trainer has no processing_class; pass tokenizer=")
        self._trainer, self._name = trainer, name
        self._keep_best: KeepBest | None = None
        self._refuse_the_same()
        self._monitor = AlignmentMonitor(
            trainer.model,
            getattr(processing, "tokenizer", processing),
            pairs,
            metrics,
            every=every,
            max_share=max_share,
            save_dir=Path(trainer.args.output_dir) / "alignment" / name,
            save_reports=save_reports,
            on_regression=on_regression,
            name=name,
            **options,
        )
        measurement = self._monitor.measurement
        keys = scalar_keys(
            [metric.name for metric in measurement.metrics],
            list(measurement.pairs),
            name,
            over_base=has_adapter(trainer.model),
        )
        check_selection(
            trainer.args,
            keys if at_evaluate else (),
            [named(key, name) for key in (*METRICS, "alignment") if key not in SHARED_NAMES],
            f"with these metrics, pairs and at_evaluate={at_evaluate}",
        )
        if keep_best is not None:
            self._keep_best = KeepBest(keep_best, trainer.args, keys)
            self._refuse_the_same()
        measurement.probe()
        self._heatmap_every, self._log_text = heatmap_every, log_text
        self._trackers = Trackers(trainer.callback_handler.callbacks)
        self._key = f"alignment-{name}" if name else "alignment"
        self.report: AlignmentReport | None = None
        self._training = self._can_save = False
        self._values: dict[str, float] = {}
        self._measured: tuple[int, int] | None = None
        self._drawn: AlignmentReport | None = None
        self._resumed_at: int | None = None
        if self._monitor.is_first_process:
            offline = go_offline_without_login(trainer.args.report_to)
            for line in (self._monitor.cost_line, offline):
                if line:
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
        """Goes in front of the callbacks that must see its values, and takes up what a resumed run has."""
        self._go_in_front()
        self._refuse_the_same()
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
        self._can_save = False
        if self._at_end and not best_loaded:
            self._measure_and_log(state, control)
        self._training = False
        if self.reports:
            self._log_last(self.reports[-1], state.global_step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tidies up what was kept as the best before."""
        if self._keep_best is not None:
            self._keep_best.saved(state)

    def _moment(self, state: TrainerState) -> tuple[int, int]:
        """The step and the weights' version: after a run that broke off, weights may change at its step."""
        return state.global_step, sum(parameter._version for parameter in self._trainer.model.parameters())

    def _refuse_the_same(self) -> None:
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

    def _is_due(self, state: TrainerState) -> bool:
        ends = self._at_end and state.global_step >= state.max_steps
        return self._monitor.cadence.is_due(state.global_step) or ends

    def _measure_and_log(self, state: TrainerState, control: TrainerControl) -> None:
        if self._measured == self._moment(state) or self._resumed_at == state.global_step:
            return
        values = pooled_only(self._measure(state, control), list(self.pairs))
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
        """Adds its values to what selects the best model and stops early."""
        if metrics is not None and self._is_evaluation(metrics):
            metrics.update(self._values)

    def _is_evaluation(self, logs: dict[str, Any]) -> bool:
        """Whether a row is an evaluation's under the plain prefix, of the first set where there are several.

        Other prefixes are left alone.
        """
        sets = self._trainer.eval_dataset
        first = f"eval_{next(iter(sets))}" if isinstance(sets, dict) and sets else "eval"
        return self._at_evaluate and ("eval_runtime" in logs or f"{first}_runtime" in logs)

    def _measure(self, state: TrainerState, control: TrainerControl) -> dict[str, float]:
        """Measures, as part of the run where it trains; returns what an evaluation has."""
        monitor = self._monitor
        monitor.measurement.model = self._trainer.model
        step = state.global_step
        # Outside training the weights need not be those of the step, and where a run resumed its history has
        # the step: that is no report of the run.
        is_of_the_run = self._training and step != self._resumed_at
        self.report = monitor.measure(step) if is_of_the_run else monitor.measurement.run(step)
        if is_of_the_run:
            values = monitor.scalars
        else:
            values = {named(key, self._name): value for key, value in scalars(self.report).items()}
        self._measured = self._moment(state)
        self._values = {f"eval_{key}": value for key, value in values.items()}
        if is_of_the_run:
            if self._keep_best is not None and self._can_save and step > 0:
                self._keep_best.consider(self._values, state, control)
            if self._heatmap_every and (len(self.reports) - 1) % self._heatmap_every == 0:
                self._log_heatmaps(self.report, step)
        return self._values

    # What trackers get beside the scalars.

    def _log_heatmaps(self, report: AlignmentReport, step: int) -> None:
        if not self._monitor.is_first_process or report is self._drawn:
            return
        self._drawn = report
        for metric in report.measured:
            self._trackers.heatmap(f"{self._key}/heatmap_{metric}", report, metric, step)
        if len(report.languages) > MOST_LANGUAGES:
            self._trackers.table(f"{self._key}/scores", *scores_table(report), step)

    def _log_last(self, report: AlignmentReport, step: int) -> None:
        if not self._monitor.is_first_process:
            return
        self._log_heatmaps(report, step)
        self._trackers.table(f"{self._key}/last", *scores_table(report), step)
        if self._log_text:
            self._trackers.table(f"{self._key}/worst_pairs", *worst_pairs_table(report), step)

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
