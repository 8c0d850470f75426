"""`KeepBest`: the best checkpoint by alignment, for runs in which the trainer selects none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from xalign.errors import ArgumentError
from xalign.model.distributed import Ranks
from xalign.monitor.keeps_running import KeepsRunning
from xalign.monitor.own_checkpoints import OwnCheckpoints
from xalign.warn import warn

_TOKEN = "xalign_keep_best"  # where a checkpoint's state says which announcement it was saved under


class KeepBest:
    """Keeps the checkpoint with the best value, where the trainer selects none.

    At a new best value, it has the trainer save a checkpoint, and notes it as the best in the trainer's
    state, so that the trainer does not delete it with old ones. A checkpoint that was saved only for this is
    deleted when there is a better one.

    Args:
        key: The value, as in the log, without `eval_`.
        args: The trainer's arguments.
        keys: The keys that there will be, and whether a higher value of each is better.
        folder: Where the list of what was saved for this alone is kept.
        keeps_running: What turns errors into warnings.

    Attributes:
        key: As given.

    Raises:
        ArgumentError: The trainer selects a best model itself, or there is no such key.
    """

    def __init__(
        self,
        key: str,
        args: TrainingArguments,
        keys: Mapping[str, bool],
        folder: Path,
        keeps_running: KeepsRunning,
    ) -> None:
        if args.load_best_model_at_end or args.metric_for_best_model is not None:
            raise ArgumentError(
                f"keep_best={key!r} with metric_for_best_model={args.metric_for_best_model!r}: the trainer "
                "keeps a best checkpoint already; leave one of them out"
            )
        self.key = str(key).removeprefix("eval_")
        if self.key not in keys:
            raise ArgumentError(f"keep_best={key!r} is no value to select by; there are: {', '.join(keys)}")
        self._higher_is_better = keys[self.key]
        self._output_dir, self._ranks = Path(str(args.output_dir)), Ranks(shared=True)
        self._own, self._keeps_running = OwnCheckpoints(self._output_dir, folder), keeps_running
        self._saved_for_this = False

    def begin(self, state: TrainerState) -> None:
        """Begin a run. What an earlier run kept is set aside; a best that is gone no longer counts.

        Raises:
            ArgumentError: Another run keeps its best checkpoint in the same folder now.
        """
        is_there = False
        _states(state).pop(_TOKEN, None)  # of the checkpoint that the run resumes from
        with self._ranks.raise_everywhere():
            if self._ranks.index == 0:
                self._take_up(state.global_step)
                is_there = self._is_there(state)
        if state.best_global_step is None:
            return
        if self._ranks.broadcast(is_there):
            state.best_model_checkpoint = str(self._checkpoint(state.best_global_step))
        else:
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def consider(self, values: dict[str, float], state: TrainerState, control: TrainerControl) -> None:
        """Have a checkpoint saved if the value is the best so far."""
        value, step = values[f"eval_{self.key}"], state.global_step
        if state.best_metric is not None and not self._is_better(value, state.best_metric):
            return
        for_this = not control.should_save
        if for_this and not self._ranks.broadcast(self._ranks.index > 0 or self._announce(step, state)):
            return
        state.best_metric, state.best_global_step = value, step
        state.best_model_checkpoint = str(self._checkpoint(step))
        self._saved_for_this = for_this
        control.should_save = True

    def saved(self, state: TrainerState) -> None:
        """Delete the checkpoint that was the best before, if it was saved only for that."""
        with self._ranks.raise_everywhere():
            pass  # until all processes have saved their parts
        for_this, self._saved_for_this = self._saved_for_this, False
        _states(state).pop(_TOKEN, None)
        if self._ranks.index > 0:
            return
        step, best = state.global_step, self._checkpoint(state.best_global_step)
        with self._keeps_running("best", step, "what was best before is not deleted"):
            if for_this:
                self._own.confirm(self._checkpoint(step).name)
            else:  # the trainer saved it for itself, perhaps once more: it is the trainer's
                self._own.release(self._checkpoint(step).name)
            if best.is_dir():
                self._own.delete_before(best.name, step)

    def move(self, folder: Path) -> None:
        """Continue the list in another folder, to which it was moved."""
        self._own.folder = folder

    def end(self) -> None:
        """Let other runs keep their best checkpoint in the folder."""
        self._own.unlock()

    def _take_up(self, step: int) -> None:
        is_alone = True
        with self._keeps_running("best", step, "the folder of the best checkpoint cannot be locked"):
            is_alone = self._own.lock()
        if not is_alone:
            raise ArgumentError(
                f"keep_best={self.key!r}: another run keeps its best checkpoint in {self._output_dir} now; "
                "give each run an output_dir of its own"
            )
        with self._keeps_running("best", step, "what was kept as the best before cannot be known"):
            self._own.read()
            aside = self._own.set_aside() if step == 0 else None
            if aside is not None:
                warn(f"the best checkpoint that an earlier run kept is in {aside} now")

    def _is_there(self, state: TrainerState) -> bool:
        is_there = False
        with self._keeps_running("best", state.global_step, "the best checkpoint cannot be looked at"):
            is_there = self._checkpoint(state.best_global_step).is_dir()
        return is_there  # noqa: RET504

    def _announce(self, step: int, state: TrainerState) -> bool:
        """Whether a checkpoint can be saved for this: nothing of another's has its name."""
        free = False
        with self._keeps_running("best", step, "the list of kept checkpoints cannot be written"):
            free = self._own.is_free(self._checkpoint(step).name)
            if free:
                token = self._own.announce(self._checkpoint(step).name)
                _states(state)[_TOKEN] = {"args": {}, "attributes": {"saved_as": token}}
        with self._keeps_running("best", step, "the best so far is not saved"):
            if not free:
                raise ArgumentError(
                    f"{self._checkpoint(step)} is there already and was not saved for keep_best; move it away"
                )
        return free

    def _is_better(self, value: float, best: float) -> bool:
        return value > best if self._higher_is_better else value < best

    def _checkpoint(self, step: int | None) -> Path:
        return self._output_dir / f"checkpoint-{step}"


def _states(state: TrainerState) -> dict[str, Any]:
    """Return what a trainer's state keeps of callbacks, which its checkpoints hold."""
    return cast(dict[str, Any], state.stateful_callbacks)  # made a dict when the state is made
