"""`Budget`: what a run may spend on alignment, spread over the steps that are left."""

import math
from dataclasses import dataclass, replace

from xalign.control.decision import Decision
from xalign.control.signals import Signals


@dataclass(frozen=True, slots=True)
class Budget:
    """The most pairs to train on, and the most seconds of a run in which to align.

    Attributes:
        pairs: The pairs; None for no limit.
        seconds: The seconds; None for no limit.
    """

    pairs: int | None = None
    seconds: float | None = None

    def within(self, decision: Decision, signals: Signals, pairs_per_step: float) -> Decision:
        """Return a decision that the budget can pay for until the end of the run.

        Args:
            decision: What is wanted.
            signals: The run now.
            pairs_per_step: Pairs that a step with alignment trains on.
        """
        if self.seconds is not None and signals.seconds >= self.seconds:
            return replace(decision, duty=0.0, reason=f"{decision.reason}; the budget of seconds is spent")
        if self.pairs is None:
            return decision
        left = self.pairs - signals.all_pairs
        steps = max(1, signals.max_steps - signals.step)
        # Whole steps, so that no part of one exceeds what is left.
        affordable = max(0, math.floor(left / max(pairs_per_step, 1))) / steps
        if decision.duty <= affordable:
            return decision
        said = f"{decision.reason}; duty {affordable:.3g}: what is left of the budget, {max(left, 0):,} pairs"
        return replace(decision, duty=min(1.0, affordable), reason=said)
