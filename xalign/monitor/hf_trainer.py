"""What the callback knows of a Hugging Face trainer."""

import math
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol, cast

from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.trainer_callback import (
    CallbackHandler,
    DefaultFlowCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.audio_inputs import takes_sound_alone
from xalign.plain_config import Config

if TYPE_CHECKING:
    from transformers import Trainer


class HuggingFaceTrainer(Protocol):
    """What is used of a `Trainer`, or of one of TRL's trainers."""

    callback_handler: CallbackHandler
    args: TrainingArguments

    @property
    def model(self) -> nn.Module | None:
        """The model as it is now: `model_init` replaces it when training starts."""

    @property
    def eval_dataset(self) -> object:
        """One evaluation set, or several by name."""

    @property
    def processing_class(self) -> object:
        """The tokenizer, or a processor that holds it."""


def check_trainer(trainer: object) -> None:
    """Refuse anything that is not a trainer.

    Raises:
        ArgumentTypeError: It lacks what a trainer has.
    """
    for needed in ("callback_handler", "model", "args", "evaluate"):
        if not hasattr(trainer, needed):
            raise ArgumentTypeError(f"trainer must be a transformers Trainer, not {type(trainer).__name__}")


def model_of(trainer: HuggingFaceTrainer) -> nn.Module:
    """Return the trainer's model as it is now.

    Raises:
        ArgumentError: The trainer has none.
    """
    if trainer.model is None:
        raise ArgumentError("the trainer has no model to measure; make it with model= or model_init=")
    return trainer.model


def tokenizer_of(
    trainer: HuggingFaceTrainer, given: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase:
    """Return the tokenizer that was given, or the trainer's own, which may be inside a processor.

    For a model that takes sound it is a feature extractor, or the processor that holds one.

    Raises:
        ArgumentError: There is none.
    """
    found = given if given is not None else trainer.processing_class
    if found is None:
        raise ArgumentError("the trainer has no processing_class; pass tokenizer=")
    if takes_sound_alone(model_of(trainer)):
        return cast(PreTrainedTokenizerBase, found)
    return cast(PreTrainedTokenizerBase, getattr(found, "tokenizer", found))


def loss_settings(trainer: HuggingFaceTrainer) -> Config:
    """Return the settings of the alignment loss of a trainer of `with_alignment`; none of another trainer."""
    found: Config = getattr(getattr(trainer, "alignment", None), "settings", {})
    return found


def is_evaluation(trainer: HuggingFaceTrainer, row: Mapping[str, object]) -> bool:
    """Return whether a row is that of an evaluation with the plain prefix; of several sets, the first.

    Rows under other prefixes, such as `test`, are left alone.
    """
    sets = trainer.eval_dataset
    first = f"eval_{next(iter(sets))}" if isinstance(sets, dict) and sets else "eval"
    return "eval_runtime" in row or f"{first}_runtime" in row


def moment(trainer: HuggingFaceTrainer, state: TrainerState) -> tuple[int, int]:
    """Return the step and the weights' version.

    The step alone is not enough: after a run that broke off, weights may change at its last step.
    """
    return state.global_step, sum(parameter._version for parameter in model_of(trainer).parameters())


def log_row(trainer: HuggingFaceTrainer, values: dict[str, float], control: TrainerControl) -> None:
    """Log a row of its own.

    A trainer's own `log` may average and clear its running metrics, so `Trainer.log` is called instead. Every
    log switches `should_log` off, so that is restored.
    """
    from transformers import Trainer

    should_log = control.should_log
    try:
        Trainer.log(cast("Trainer", trainer), dict(values))
    finally:
        control.should_log = should_log


def move_to_front(
    trainer: HuggingFaceTrainer, callback: TrainerCallback, peers: type[TrainerCallback]
) -> None:
    """Move a callback before all others except its peers and the one that decides what happens at a step.

    Args:
        trainer: The trainer.
        callback: The callback.
        peers: Callbacks of this class may stay before it.

    Raises:
        ArgumentError: It is not among the trainer's callbacks.
    """
    callbacks = trainer.callback_handler.callbacks
    ahead = list(takewhile(lambda c: isinstance(c, DefaultFlowCallback | peers), callbacks))
    if callback in ahead:
        return
    if callback not in callbacks:
        raise ArgumentError("this AlignmentCallback was made for another trainer; make one for this trainer")
    # The handler is walking through this list: only this callback moves, from where the walk stands.
    callbacks.remove(callback)
    callbacks.insert(len(ahead), callback)


class NotMeasured(TrainerCallback):
    """Adds NaN to one evaluation for a value that could not be measured, after all other callbacks.

    The trainer ends the run if the value that selects its best model is missing; NaN is never the best. Early
    stopping, which comes before, finds no value and does not count the evaluation.

    Args:
        trainer: The trainer.
        key: The value.
    """

    def __init__(self, trainer: HuggingFaceTrainer, key: str) -> None:
        self._callbacks, self._key = trainer.callback_handler.callbacks, key
        # The handler is walking through this list, and comes to this one last.
        self._callbacks.append(self)

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Add the value, and remove this callback."""
        self._callbacks.remove(self)
        if metrics is not None:
            metrics.setdefault(self._key, math.nan)
