"""`Fixed`, `Listed` and `Random`: controllers that ignore measurements, for runs to compare with."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from xalign.checks import whole_number
from xalign.control.decision import Decision, Schedule
from xalign.control.signals import Signals


@dataclass(frozen=True, slots=True)
class Fixed:
    """Does the same from the first step to the last.

    Attributes:
        decision: What it does. The default aligns and replays at every step, as training does without a
            controller.

    Example:
        >>> Fixed(Decision(duty=0.5)).name
        'fixed'
    """

    decision: Decision = field(default_factory=Decision)

    @property
    def name(self) -> str:
        """What logs call it."""
        return "fixed"

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:  # noqa: ARG002
        """Return the decision, whatever was measured."""
        return replace(self.decision, step=signals[-1].step, reason=self.decision.reason or "as set")


@dataclass(frozen=True, slots=True)
class Listed:
    """Repeats the decisions of another run, by their steps. With the same seeds the run is the same.

    Attributes:
        decisions: The decisions, as `load_decisions` reads them.
    """

    decisions: tuple[Decision, ...]

    @property
    def name(self) -> str:
        """What logs call it."""
        return "listed"

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:  # noqa: ARG002
        """Return the decision that is listed for the step."""
        step = signals[-1].step
        return replace(Schedule(self.decisions).at(step), step=step)


@dataclass(frozen=True, slots=True)
class Random:
    """Draw a duty and a replay at each measurement, to tell whether reacting to measurements pays.

    Attributes:
        duty: The mean share of steps that align; drawn evenly from 0 to twice as much, and at most 1.
        replay: The same for steps that replay.
        seed: Decides what is drawn.
    """

    duty: float = 0.5
    replay: float = 0.5
    seed: int = 0

    @property
    def name(self) -> str:
        """What logs call it."""
        return "random"

    def __post_init__(self) -> None:
        """Check the means."""
        Decision(duty=self.duty, replay=self.replay)
        whole_number("seed", self.seed)

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:  # noqa: ARG002
        """Return what is drawn for the step."""
        step = signals[-1].step
        draw = random.Random(f"control {self.seed} {step}").random

        def around(mean: float) -> float:
            spread = min(mean, 1 - mean)
            return mean + spread * (2 * draw() - 1)

        return Decision(step, duty=around(self.duty), replay=around(self.replay), reason="drawn at random")
