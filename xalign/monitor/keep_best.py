"""`KeepBest`: the best checkpoint by alignment, for runs in which the trainer selects none."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError
from xalign.model.distributed import Ranks

MARK = "kept-as-best"


class KeepBest:
    """Keeps the checkpoint with the best value, where the trainer selects none.

    At a new best it has the trainer save a checkpoint, and notes it as the best in the trainer's state, so
    that the trainer spares it when it deletes old ones. A checkpoint that was saved for this alone is deleted
    when there is a better one.

    Args:
        key: The value, as in the log, without `eval_`.
        args: The trainer's arguments.
        keys: The keys that there will be, and whether more of each is better.

    Attributes:
        key: As given.

    Raises:
        ArgumentError: The trainer selects a best model itself, or there is no such key.
    """

    def __init__(self, key: str, args: TrainingArguments, keys: Mapping[str, bool]) -> None:
        if args.load_best_model_at_end or args.metric_for_best_model is not None:
            raise ArgumentError(
                f"keep_best={key!r} with metric_for_best_model={args.metric_for_best_model!r}: the trainer "
                "keeps a best checkpoint already; leave one of them out"
            )
        self.key = str(key).removeprefix("eval_")
        if self.key not in keys:
            raise ArgumentError(f"keep_best={key!r} is no value to select by; there are: {', '.join(keys)}")
        self._higher_is_better = keys[self.key]
        self._folder, self._ranks = Path(str(args.output_dir)), Ranks(shared=True)
        self._saved_for_this = False

    def begin(self, state: TrainerState) -> None:
        """Begin a run. Checkpoints that an earlier run kept stay; a best that is gone no longer counts."""
        if state.global_step == 0 and self._ranks.index == 0:
            for mark in self._marks():
                mark.unlink(missing_ok=True)
        if state.best_global_step is None:
            return
        best = self._checkpoint(state.best_global_step)
        if self._ranks.broadcast(best.is_dir()):
            state.best_model_checkpoint = str(best)
        else:
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def consider(self, values: dict[str, float], state: TrainerState, control: TrainerControl) -> None:
        """Have a checkpoint saved where the value is the best so far."""
        value = values[f"eval_{self.key}"]
        if state.best_metric is not None and not self._is_better(value, state.best_metric):
            return
        state.best_metric, state.best_global_step = value, state.global_step
        state.best_model_checkpoint = str(self._checkpoint(state.global_step))
        self._saved_for_this = not control.should_save
        control.should_save = True

    def saved(self, state: TrainerState) -> None:
        """Delete what was best before and was saved for nothing else."""
        if self._ranks.index > 0:
            return
        mark = self._checkpoint(state.global_step) / MARK
        if self._saved_for_this:
            mark.touch()
        else:  # the trainer saved it for itself, perhaps once more: it is the trainer's
            mark.unlink(missing_ok=True)
        self._saved_for_this = False
        for mark in self._marks():
            if mark.parent != self._checkpoint(state.best_global_step):
                shutil.rmtree(mark.parent, ignore_errors=True)

    def _is_better(self, value: float, best: float) -> bool:
        return value > best if self._higher_is_better else value < best

    def _checkpoint(self, step: int | None) -> Path:
        return self._folder / f"checkpoint-{step}"

    def _marks(self) -> list[Path]:
        return list(self._folder.glob(f"checkpoint-*/{MARK}"))
