"""`ControlledRun`: a closed loop in a trainer, which logs its decisions and is saved in checkpoints."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from transformers import Trainer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from xalign.control.decision import Decision
from xalign.monitor.callback import AlignmentCallback
from xalign.monitor.hf_trainer import log_row
from xalign.monitor.report_log import Trackers
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.training.closed_loop import ClosedLoop
from xalign.training.config import AlignmentConfig
from xalign.training.guarded_texts import texts_of
from xalign.training.objective import AlignmentObjective
from xalign.training.refusals import refuse_overlap
from xalign.views.decisions import COLUMNS, decision_rows

TABLE = "alignment/decisions"
"""The key of the trackers' table of decisions."""
_NAME = "xalign_control"


class ControlledRun(TrainerCallback):
    """Runs a closed loop along the steps of a trainer.

    Args:
        trainer: The trainer.
        objective: Its alignment objective.
        config: The options, which name the controller and what it decides by.

    Attributes:
        loop: The loop.
    """

    def __init__(self, trainer: Trainer, objective: AlignmentObjective, config: AlignmentConfig) -> None:
        self._trainer = trainer
        pairs, controller = config.control_pairs, config.resolved_controller
        if pairs is None or controller is None:
            raise TypeError("a controlled run needs a controller and control pairs")
        control = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs, pivot=config.pivot)
        self.loop = ClosedLoop(
            objective,
            control,
            controller,
            max_steps=1,  # known when training begins
            every=config.control_every,
            guard=texts_of(config.guard, control.pivot),
            reference=config.guard_reference,
            budget_pairs=config.budget_pairs,
            budget_seconds=config.budget_seconds,
            folder=Path(str(trainer.args.output_dir)) / "alignment",
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore what a checkpoint has kept, and decide on the first steps."""
        callbacks = self._trainer.callback_handler.callbacks
        self._trackers = Trackers(callbacks)
        for callback in callbacks:
            if isinstance(callback, AlignmentCallback):
                refuse_overlap(self.loop.control, callback.pairs, what="control")
        kept = cast(dict[str, Any], state.stateful_callbacks).get(_NAME, {}).get("attributes", {})
        self.loop.max_steps = state.max_steps
        self.loop.begin(state.global_step, kept.get("records", ()), kept.get("counts"))
        self._look(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure and decide, if the step is due."""
        self._look(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep what a checkpoint at the end of an epoch will hold."""
        self._keep(state)

    def _look(self, state: TrainerState, control: TrainerControl) -> None:
        decision = self.loop.step(state.global_step, learning_rate=self._rate())
        if decision is not None:
            with self.loop.keeps_running("log", state.global_step, "the decision could not be logged"):
                log_row(self._trainer, row_of(decision), control)
                cast(dict[str, Any], state.log_history[-1])["align_reason"] = decision.reason
            self._table(state, decision)
            control.should_training_stop |= decision.stop
        if decision is not None or control.should_save:
            self._keep(state)

    def _table(self, state: TrainerState, decision: Decision) -> None:
        """Give the trackers the decisions so far, with their reasons: where one differs, and at the last."""
        decisions = self.loop.decisions
        is_last = state.global_step + self.loop.every >= state.max_steps or decision.stop
        differs = len(decisions) == 1 or not is_same(decision, decisions[-2])
        if state.is_world_process_zero and (differs or is_last):
            self._trackers.table(TABLE, COLUMNS, decision_rows(decisions), state.global_step)

    def _keep(self, state: TrainerState) -> None:
        """Have the trainer's state, which checkpoints hold, hold the run so far."""
        attributes = {"records": self.loop.records, "counts": self.loop.counts}
        cast(dict[str, Any], state.stateful_callbacks)[_NAME] = {"args": {}, "attributes": attributes}

    def _rate(self) -> float | None:
        """Return the learning rate as a share of its largest; None where no scheduler says it."""
        scheduler, optimizer = self._trainer.lr_scheduler, self._trainer.optimizer
        if scheduler is None or optimizer is None:
            return None
        groups = [(group["lr"], group.get("initial_lr", 0.0)) for group in optimizer.param_groups]
        now, largest = max(groups, key=lambda rates: rates[1])
        return float(now / largest) if largest else None


def is_same(one: Decision, other: Decision) -> bool:
    """Return whether two decisions are the same apart from their steps and reasons."""
    return replace(one, step=other.step, reason=other.reason) == other


def row_of(decision: Decision) -> dict[str, float]:
    """Return a decision as a row of a trainer's log."""
    row = {"align_duty": decision.duty, "align_weight": decision.weight, "align_replay": decision.replay}
    return row | {f"align_share_{code}": share for code, share in decision.shares.items()}
