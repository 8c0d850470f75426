"""Which trainer a callback measures: the one it is given, or the one that calls it."""

import sys
from pathlib import Path
from types import FrameType
from typing import cast

from transformers.trainer_callback import CallbackHandler, TrainerCallback

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.monitor.hf_trainer import HuggingFaceTrainer, check_trainer
from xalign.pairs.parallel import ParallelPairs


def calling_trainer(callback: TrainerCallback) -> HuggingFaceTrainer | None:
    """Return the trainer whose hook runs right now, or None outside hooks.

    A trainer passes its model and its state to its callbacks, but not itself, and only the trainer knows the
    other callbacks. So it is looked up on the call stack: it is the nearest object whose callback handler
    holds this callback.

    Args:
        callback: The callback that is called.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        handler = getattr(owner, "callback_handler", None)
        if isinstance(handler, CallbackHandler) and any(one is callback for one in handler.callbacks):
            return cast(HuggingFaceTrainer, owner)
        frame = frame.f_back
    return None


def refuse_another(callback: TrainerCallback, trainer: HuggingFaceTrainer) -> None:
    """Raise an error if another trainer than the callback's own calls it.

    Raises:
        ArgumentError: Another trainer calls.
    """
    if calling_trainer(callback) not in (None, trainer):
        raise ArgumentError("this AlignmentCallback was made for another trainer; make one for this trainer")


def trainer_and_pairs(
    trainer: object, pairs: ParallelPairs | str | Path | None
) -> tuple[HuggingFaceTrainer | None, ParallelPairs | str | Path]:
    """Tell `AlignmentCallback(trainer, pairs)` from `AlignmentCallback(pairs)`.

    Raises:
        ArgumentTypeError: Something else than a trainer, no pairs, or pairs twice.
    """
    if not isinstance(trainer, ParallelPairs | str | Path):
        check_trainer(trainer)
        if pairs is None:
            raise ArgumentTypeError("pairs is missing: held-out sentences to measure on, such as 'bundled'")
        return cast(HuggingFaceTrainer, trainer), pairs
    if pairs is not None:
        raise ArgumentTypeError(
            f"trainer must be a transformers Trainer, not {type(trainer).__name__}; without one, write "
            "AlignmentCallback(pairs, every=...), and name what follows the pairs"
        )
    return None, trainer
