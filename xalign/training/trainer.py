"""`with_alignment`: any Hugging Face or TRL trainer, with an alignment loss added to its own."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import EvalLoopOutput, has_length
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.audio_inputs import takes_sound_alone
from xalign.model.distributed import refuse_split
from xalign.model.inputs_for import Processing
from xalign.monitor.callback import AlignmentCallback
from xalign.monitor.report_log import Trackers
from xalign.renamed import renamed
from xalign.training.calls import Calls
from xalign.training.closed_loop import ClosedLoop
from xalign.training.config import AlignmentConfig
from xalign.training.controlled_run import ControlledRun
from xalign.training.layers import AUTO, parse_layers
from xalign.training.log import AlignmentLog
from xalign.training.objective import AlignmentObjective
from xalign.training.refusals import warn_of_untrained_loss

TrainerT = TypeVar("TrainerT", bound=Trainer)
TrainerT_co = TypeVar("TrainerT_co", bound=Trainer, covariant=True)
Output = Tensor | tuple[Tensor, Any]


class AlignedClass(Protocol[TrainerT_co]):
    """The type of what `with_alignment` returns: a class whose instances are trainers of the class given.

    Instances also have `objective`, the `AlignmentObjective`, `alignment`, its config, and `closed_loop`, the
    `ClosedLoop` where `alignment.control` is set.
    """

    __name__: str

    def __call__(self, *args: Any, alignment: AlignmentConfig, **kwargs: Any) -> TrainerT_co:
        """Make a trainer: the arguments are those of the class given, and `alignment`."""
        ...


def with_alignment(trainer_class: type[TrainerT]) -> AlignedClass[TrainerT]:
    """Make a subclass of a trainer class that trains on parallel sentences alongside its task.

    Nothing is patched. The subclass takes one more argument, `alignment=AlignmentConfig(...)`. Its log rows
    gain `align_loss`, `align_accuracy` (chance is 1 / pairs in the batch), `align_positive` and
    `align_negative` (cosines), in every tenth row the accuracy per language, and `task_loss`, which is what
    `loss` would be without alignment. The evaluation loss stays the task's; with `eval_pairs`, evaluations
    gain `eval_align_loss`, and the weighted sum of both as `eval_joint_loss`.

    The gradient is the mean over the micro-batches of a step, however the trainer scales its own loss under
    gradient accumulation.

    Type checkers treat the trainers it makes as instances of the class given, so editors complete that
    class's methods and attributes, and `alignment=`. Python's types cannot express "this class and one more
    base" or "these arguments and one more keyword". So the class's own arguments are not checked, and the
    trainers' further attributes `objective` and `alignment` are not completed.

    Args:
        trainer_class: `Trainer`, or one of TRL's.

    Returns:
        The subclass; the same one for the same class.

    Raises:
        ArgumentTypeError: Not a trainer class, or one that has an alignment loss already.

    Example:
        >>> from transformers import PreTrainedTokenizerBase, Trainer
        >>> with_alignment(Trainer).__name__
        'AlignedTrainer'
    """
    if not (isinstance(trainer_class, type) and issubclass(trainer_class, Trainer)):
        raise ArgumentTypeError(
            f"trainer_class must be a transformers Trainer class, not {trainer_class!r:.60}"
        )
    if _WithAlignment in trainer_class.__mro__:
        raise ArgumentTypeError(f"{trainer_class.__name__} has an alignment loss already")
    if trainer_class not in _ALIGNED:
        bases = (_WithAlignment, trainer_class)
        name = f"Aligned{trainer_class.__name__}"
        _ALIGNED[trainer_class] = type(name, bases, {"__doc__": trainer_class.__doc__})
    return cast(AlignedClass[TrainerT], _ALIGNED[trainer_class])


_ALIGNED: dict[type[Trainer], type[Trainer]] = {}


if TYPE_CHECKING:  # in every class that `with_alignment` makes, a trainer class comes next
    _Base = Trainer
else:
    _Base = object


class _WithAlignment(_Base):
    """The part that `with_alignment` puts in front of a trainer class."""

    alignment: AlignmentConfig
    objective: AlignmentObjective

    def __init__(self, *args: Any, alignment: AlignmentConfig | None = None, **kwargs: Any) -> None:
        if not isinstance(alignment, AlignmentConfig):
            given = "missing" if alignment is None else f"a {type(alignment).__name__}"
            raise ArgumentTypeError(
                f"{type(self).__name__}: alignment is {given}; give alignment=AlignmentConfig(pairs=...)"
            )
        if alignment.pairs is None:  # before the trainer prepares its data
            raise ArgumentError(
                "alignment has no pairs; give AlignmentConfig(pairs=...), a path or ParallelPairs"
            )
        super().__init__(*args, **kwargs)
        processing = self.processing_class
        if processing is None:
            raise ArgumentError("the trainer has no processing_class; pass the model's tokenizer there")
        self.alignment = alignment
        self._align_auto = parse_layers(alignment.layer) == AUTO
        self.objective = AlignmentObjective(
            cast(nn.Module, self.model),
            cast(Processing, processing)
            if takes_sound_alone(cast(nn.Module, self.model))
            else cast(PreTrainedTokenizerBase, getattr(processing, "tokenizer", processing)),
            config=replace(alignment, layer="all") if self._align_auto else alignment,
        )
        self.objective.config = alignment
        warn_of_untrained_loss(alignment.resolved_loss)
        self._align_log = AlignmentLog()
        self._align_place = (-1, 0)
        self.add_callback(_InTraining(self))
        self.closed_loop: ClosedLoop | None = None
        if alignment.control is not None:
            run = ControlledRun(self, self.objective, alignment)
            self.closed_loop = run.loop
            self.add_callback(run)

    def _begin_alignment(self) -> None:
        """Check against what callbacks measure, and choose the layer of `"auto"`, before the first step."""
        self.objective.model = cast(nn.Module, self.model)
        self._align_trackers = Trackers(self.callback_handler.callbacks)
        refuse_split(self.model_wrapped, learning=True)
        self._align_log, self._align_place = AlignmentLog(), (-1, 0)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, AlignmentCallback) and callback.pairs not in self.objective.held_out:
                self.objective.hold_out(callback.pairs)
        self.objective.calls = self._calls()
        if self._align_auto:
            self._choose_align_layer()
        self.objective.probe()

    def _describe_alignment(self) -> None:
        """Give trackers the settings of the loss, where no `AlignmentCallback` does so with its own."""
        callbacks = self.callback_handler.callbacks
        if self.is_world_process_zero() and not any(isinstance(one, AlignmentCallback) for one in callbacks):
            self._align_trackers.describe(lambda: self.alignment.settings)

    def _calls(self) -> Calls:
        """Return when this trainer asks for pairs: the last step of an epoch may have fewer micro-batches."""
        data: Any = self.callback_handler.train_dataloader
        return Calls(
            per_step=self.args.gradient_accumulation_steps,
            per_epoch=len(data) if has_length(data) else None,
            every=self.alignment.alternate_every if self.alignment.mode == "alternate" else 1,
        )

    def _choose_align_layer(self) -> None:
        chosen = [row["align_layer"] for row in self.state.log_history if "align_layer" in row]
        if chosen:  # a resumed run keeps the layer it began with
            self.objective.layers = {int(chosen[0]): 1.0}
        else:
            self.objective.choose_layer()
            Trainer.log(self, {"align_layer": next(iter(self.objective.layers))})
            if self.is_world_process_zero():
                print(f"xalign: layer='auto' takes {self.objective.reason}")  # noqa: T201

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Output:
        """Compute the task's loss, and in training the alignment loss, added to it or in its place."""

        def task() -> Output:
            return super(_WithAlignment, self).compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )

        if not model.training or not self.objective.is_active:
            return task()
        step, micro_step = self._next_align_place()
        accumulated = self.current_gradient_accumulation_steps
        scale = 1 / accumulated if self._is_loss_scaled(num_items_in_batch) else 1.0
        if self.alignment.mode == "alternate" and not return_outputs:
            turn = step * self.args.gradient_accumulation_steps + micro_step + 1
            is_due = self.objective.schedule.at(step).aligns_at(step)
            is_turn = turn % self.alignment.alternate_every == 0
            if is_turn and is_due and not self.objective.has_ended(step, micro_step):
                return scale * self._align(model, step, micro_step)
            return self._logged(task(), scale)
        result = self._logged(task(), scale)
        value = scale * self._align(model, step, micro_step)
        return (result[0] + value, result[1]) if isinstance(result, tuple) else result + value

    def _logged(self, result: Output, scale: float) -> Output:
        loss = result[0] if isinstance(result, tuple) else result
        self._align_log.add_task(loss.detach() / scale)
        if self.closed_loop is not None:
            self.closed_loop.count(None, loss.detach() / scale)
        return result

    def _align(self, model: nn.Module, step: int, micro_step: int) -> Tensor:
        loss = self.objective(step, micro_step, model=model)
        if self.objective.last is not None:
            self._align_log.add(self.objective.last)
        if self.closed_loop is not None:
            self.closed_loop.count(self.objective.last)
        return loss

    def _next_align_place(self) -> tuple[int, int]:
        """Return the step, and the index of the micro-batch within it, from 0."""
        step = self.state.global_step
        micro_step = self._align_place[1] + 1 if self._align_place[0] == step else 0
        self._align_place = (step, micro_step)
        return self._align_place

    def _refuse_without_loss(self) -> None:
        """Raise an error after a step in which the trainer never asked for a loss."""
        if self.objective.is_active and self._align_place[0] < 0:
            raise ArgumentError(
                f"{type(self).__mro__[2].__name__} computes its loss without compute_loss, to which the "
                "alignment loss is added: call AlignmentObjective in its training step"
            )

    def _is_loss_scaled(self, num_items_in_batch: Tensor | int | None) -> bool:
        """Tell whether the trainer expects a loss that is divided by the number of micro-batches already."""
        said = getattr(self, "loss_is_scaled_for_ga", None)  # older transformers have no such attribute
        if said is not None:
            return bool(said)
        by_items = self.model_accepts_loss_kwargs and num_items_in_batch is not None
        return by_items or self.compute_loss_func is not None

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate as the trainer does, and add the alignment loss of `eval_pairs`, if there are any."""
        output = super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        if self.alignment.eval_pairs is not None and metric_key_prefix.split("_")[0] == "eval":
            with self.compute_loss_context_manager():
                value = self.objective.eval_loss(model=self.model)
            metrics = cast(dict[str, float], output.metrics)
            of_task = metrics.get(f"{metric_key_prefix}_loss")
            metrics[f"{metric_key_prefix}_align_loss"] = value
            if of_task is not None:
                metrics[f"{metric_key_prefix}_joint_loss"] = of_task + self.alignment.weight * value
        return output

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the alignment loss saw since the last row of training."""
        if "loss" in logs:
            logs = {**logs, **self._align_log.row()}
        super().log(logs, *args, **kwargs)


class _InTraining(TrainerCallback):
    """Calls the trainer when weights and callbacks are what they will be in training, and after a step."""

    def __init__(self, trainer: _WithAlignment) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._begin_alignment()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._describe_alignment()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._refuse_without_loss()


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
