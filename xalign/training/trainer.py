"""`with_alignment`: any Hugging Face or TRL trainer, with an alignment loss added to its own."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.distributed import refuse_split
from xalign.monitor.callback import AlignmentCallback
from xalign.training.config import AlignmentConfig
from xalign.training.layers import AUTO, parse_layers
from xalign.training.objective import AlignmentObjective, AlignmentStep

LANGUAGES_EVERY = 10


@cache
def with_alignment(trainer_class: type[Trainer]) -> Any:
    """A subclass of a trainer that trains on parallel sentences beside its task.

    Nothing is patched. The subclass takes one argument more, `alignment=AlignmentConfig(...)`; its rows gain
    `align_loss`, `align_accuracy` (chance is one in the batch), `align_positive` and `align_negative`
    (cosines), every tenth of them the accuracy per language, and `task_loss`, what `loss` would be alone. The
    evaluation loss stays the task's.

    The gradient is the mean over the micro-batches of a step, however the trainer scales its own loss under
    gradient accumulation.

    Args:
        trainer_class: `Trainer`, or one of TRL's.

    Returns:
        The subclass.

    Raises:
        ArgumentTypeError: What is no trainer class.

    Example:
        >>> from transformers import Trainer
        >>> with_alignment(Trainer).__name__
        'AlignedTrainer'
    """
    if not (isinstance(trainer_class, type) and issubclass(trainer_class, Trainer)):
        raise ArgumentTypeError(
            f"trainer_class must be a transformers Trainer class, not {trainer_class!r:.60}"
        )
    if _WithAlignment in trainer_class.__mro__:
        raise ArgumentTypeError(f"{trainer_class.__name__} has an alignment loss already")
    name = f"Aligned{trainer_class.__name__}"
    bases: tuple[Any, ...] = (_WithAlignment, trainer_class)
    return type(name, bases, {"__doc__": trainer_class.__doc__})


class _WithAlignment:
    """The part that `with_alignment` puts in front of a trainer class."""

    def __init__(self, *args: Any, alignment: AlignmentConfig, **kwargs: Any) -> None:
        if not isinstance(alignment, AlignmentConfig):
            raise ArgumentTypeError(f"alignment must be an AlignmentConfig, not {type(alignment).__name__}")
        if alignment.pairs is None:  # before the trainer prepares its data
            raise ArgumentError(
                "alignment has no pairs; give AlignmentConfig(pairs=...), a path or ParallelPairs"
            )
        super().__init__(*args, **kwargs)
        trainer: Any = self
        processing = trainer.processing_class
        if processing is None:
            raise ArgumentError("the trainer has no processing_class; pass the model's tokenizer there")
        self.alignment = alignment
        self._align_auto = parse_layers(alignment.layer) == AUTO
        self.objective = AlignmentObjective(
            trainer.model,
            getattr(processing, "tokenizer", processing),
            config=replace(alignment, layer="all") if self._align_auto else alignment,
        )
        self.objective.config = alignment
        self._align_log = _AlignmentLog()
        self._align_place = (-1, 0)
        trainer.add_callback(_InTraining(self))

    def _begin_alignment(self) -> None:
        """Checks against what callbacks measure, and settles `layer="auto"`, before the first step."""
        trainer: Any = self
        self.objective.model = trainer.model
        refuse_split(trainer.model_wrapped, learning=True)
        self._align_log, self._align_place = _AlignmentLog(), (-1, 0)
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, AlignmentCallback) and callback.pairs not in self.objective.held_out:
                self.objective.hold_out(callback.pairs)
        if self._align_auto:
            self._settle_align_layer()
        self.objective.probe()

    def _settle_align_layer(self) -> None:
        trainer: Any = self
        chosen = [row["align_layer"] for row in trainer.state.log_history if "align_layer" in row]
        if chosen:  # a resumed run keeps the layer it began with
            self.objective.layers = {int(chosen[0]): 1.0}
        else:
            self.objective.choose_layer()
            Trainer.log(trainer, {"align_layer": next(iter(self.objective.layers))})
            if trainer.is_world_process_zero():
                print(f"xalign: layer='auto' takes {self.objective.reason}")  # noqa: T201

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The task's loss, and in training the alignment loss beside it or in its place."""
        trainer: Any = self
        parent: Any = super()
        alignment = self.alignment

        def task() -> Any:
            return parent.compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )

        if not model.training or not self.objective.is_active:
            return task()
        step, micro_step = trainer._next_align_place()
        accumulated = trainer.current_gradient_accumulation_steps
        scale = 1 / accumulated if trainer._is_loss_scaled(num_items_in_batch) else 1.0
        alternate = alignment.mode == "alternate" and not return_outputs
        if alternate:
            turn = step * trainer.args.gradient_accumulation_steps + micro_step + 1
            if turn % alignment.alternate_every:
                result = task()
                self._align_log.add_task(result.detach() / scale)
                return result
            return scale * trainer._align(model, step, micro_step)
        result = task()
        self._align_log.add_task((result[0] if return_outputs else result).detach() / scale)
        pull = scale * trainer._align(model, step, micro_step)
        if return_outputs:
            return result[0] + pull, result[1]
        return result + pull

    def _align(self, model: Any, step: int, micro_step: int) -> Tensor:
        loss = self.objective(step, micro_step, model=model)
        if self.objective.last is not None:
            self._align_log.add(self.objective.last)
        return loss

    def _next_align_place(self) -> tuple[int, int]:
        """The step and the micro-batch's place in it, counted from 0."""
        step = self.state.global_step  # type: ignore[attr-defined]
        micro_step = self._align_place[1] + 1 if self._align_place[0] == step else 0
        self._align_place = (step, micro_step)
        return self._align_place

    def _refuse_without_loss(self) -> None:
        """An error after a step in which the trainer never asked for a loss."""
        if self.objective.is_active and self._align_place[0] < 0:
            raise ArgumentError(
                f"{type(self).__mro__[2].__name__} computes its loss without compute_loss, to which the "
                "alignment loss is added: call AlignmentObjective in its training step"
            )

    def _is_loss_scaled(self, num_items_in_batch: Tensor | int | None) -> bool:
        """Whether the trainer takes what `compute_loss` returns as already divided by the micro-batches."""
        trainer: Any = self
        if trainer.loss_is_scaled_for_ga is not None:
            return bool(trainer.loss_is_scaled_for_ga)
        by_items = trainer.model_accepts_loss_kwargs and num_items_in_batch is not None
        return by_items or trainer.compute_loss_func is not None

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds what the alignment loss saw since the last row of training."""
        if "loss" in logs:
            logs = {**logs, **self._align_log.row()}
        super().log(logs, *args, **kwargs)  # type: ignore[misc]


class _AlignmentLog:
    """Running means between two rows, over every micro-batch of this process."""

    def __init__(self) -> None:
        self._means, self._accuracy = _Means(), _Means()
        self._rows = 0

    def add(self, step: AlignmentStep) -> None:
        if step.loss is not None:
            self._means.add("align_loss", step.loss)
        if step.in_batch is not None:
            for name in ("accuracy", "positive", "negative"):
                self._means.add(f"align_{name}", getattr(step.in_batch, name).mean())
            for code, accuracy in zip(step.codes, step.in_batch.accuracy, strict=True):
                self._accuracy.add(f"align_accuracy_{code}", accuracy)
        if step.replay_loss is not None:
            self._means.add("replay_loss", step.replay_loss)

    def add_task(self, loss: Tensor) -> None:
        self._means.add("task_loss", loss)

    def row(self) -> dict[str, float]:
        row = self._means.take()
        if row:
            if self._rows % LANGUAGES_EVERY == 0:
                row |= self._accuracy.take()
            self._rows += 1
        return row


class _Means:
    """Means of what was added under each name; they wait on the device until they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, name: str, value: Tensor) -> None:
        total, count = self._sums.get(name, (torch.zeros_like(value), 0))
        self._sums[name] = total + value, count + 1

    def take(self) -> dict[str, float]:
        means = {name: (total / count).item() for name, (total, count) in sorted(self._sums.items())}
        self._sums.clear()
        return means


class _InTraining(TrainerCallback):
    """Calls the trainer when weights and callbacks are what they will be in training, and after a step."""

    def __init__(self, trainer: _WithAlignment) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._begin_alignment()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trainer._refuse_without_loss()
