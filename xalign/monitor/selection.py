"""Best models by alignment: the trainer's own selection checked, and one for runs without evaluations."""

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError
from xalign.model.distributed import Ranks

MARK = "kept-as-best"


def check_selection(args: TrainingArguments, keys: Sequence[str], known: Sequence[str], why: str) -> None:
    """Refuses a best-model selection by a value of alignment that no evaluation will have.

    Args:
        args: The trainer's arguments.
        keys: The keys that each evaluation will have.
        known: Beginnings of keys that can only be meant for alignment.
        why: What the keys depend on, for the message.

    Raises:
        ArgumentError: `metric_for_best_model` looks like one of them and is none, or less of it is to be
            better.
    """
    given = (args.metric_for_best_model or "").removeprefix("eval_")
    if given in keys:
        if args.greater_is_better is False:
            raise ArgumentError(
                f"greater_is_better=False with metric_for_best_model={args.metric_for_best_model!r} would "
                "keep the model that is aligned worst; leave greater_is_better out"
            )
        return
    name = given.replace("/", "_").removeprefix("eval_")  # as trackers show it
    meant = name in keys or any(name == start or name.startswith(f"{start}_") for start in known)
    if meant or difflib.get_close_matches(name.split("_")[0], known, cutoff=0.8):
        raise ArgumentError(
            f"metric_for_best_model={args.metric_for_best_model!r} is no value of an evaluation to select "
            f"by; {why} there are: {', '.join(keys) or 'none'}"
        )


class KeepBest:
    """Keeps the checkpoint with the largest value, where the trainer selects none.

    At a new best it has the trainer save a checkpoint, and notes it as the best in the trainer's state, by
    which it is spared when old ones are deleted. Checkpoints that were saved for this alone are deleted when
    a better one is.

    Args:
        key: The value, as in the log, without `eval_`.
        args: The trainer's arguments.
        keys: The keys that there will be.

    Raises:
        ArgumentError: The trainer selects a best model itself, or no such key.
    """

    def __init__(self, key: str, args: TrainingArguments, keys: Sequence[str]) -> None:
        if args.load_best_model_at_end or args.metric_for_best_model is not None:
            raise ArgumentError(
                f"keep_best={key!r} with metric_for_best_model={args.metric_for_best_model!r}: the trainer "
                "keeps a best checkpoint already; leave one of them out"
            )
        self.key = str(key).removeprefix("eval_")
        if self.key not in keys:
            raise ArgumentError(f"keep_best={key!r} is no value to select by; there are: {', '.join(keys)}")
        self._folder, self._ranks = Path(str(args.output_dir)), Ranks(shared=True)
        self._saved_for_this = False

    def begin(self, state: TrainerState) -> None:
        """Begins with a run: what an earlier one kept stays, and a best that is gone no longer counts."""
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
        """Has a checkpoint saved where the value is the best so far."""
        value = values[f"eval_{self.key}"]
        if state.best_metric is not None and value <= state.best_metric:
            return
        state.best_metric, state.best_global_step = value, state.global_step
        state.best_model_checkpoint = str(self._checkpoint(state.global_step))
        self._saved_for_this = not control.should_save
        control.should_save = True

    def saved(self, state: TrainerState) -> None:
        """Deletes what was best before and saved for nothing else."""
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

    def _checkpoint(self, step: int | None) -> Path:
        return self._folder / f"checkpoint-{step}"

    def _marks(self) -> list[Path]:
        return list(self._folder.glob(f"checkpoint-*/{MARK}"))
