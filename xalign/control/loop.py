"""`Loop`: duty, shares and guard together; the default controller."""

from collections.abc import Sequence
from dataclasses import dataclass

from xalign.control.controller import Controller
from xalign.control.decision import Decision
from xalign.control.deficit import Deficit
from xalign.control.duty import Duty
from xalign.control.guarded import Guarded
from xalign.control.signals import Signals


@dataclass(frozen=True, slots=True)
class Loop:
    """Aligns as often as a target needs, in the languages that are behind, within a bound on forgetting.

    Its parts decide each by itself: `Duty` how often, `Deficit` in which languages, and `Guarded` how much
    is replayed, and how often may be aligned at most.

    Attributes:
        target: The score to reach, as in `Target`.
        max_forgetting: The bound on the rise of the guarded loss, as a share of it.
        lowest: The smallest share of the steps that align.
    """

    target: float | str = 0.8
    max_forgetting: float = 0.02
    lowest: float = 1 / 8

    @property
    def name(self) -> str:
        """What logs call it."""
        return "loop"

    @property
    def parts(self) -> tuple[Duty, Deficit, Guarded]:
        """What decides."""
        return (
            Duty(self.target, self.lowest),
            Deficit(self.target),
            Guarded(self.max_forgetting, lowest=self.lowest),
        )

    def __post_init__(self) -> None:
        """Check every field, as the parts do."""
        _ = self.parts

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:  # noqa: ARG002
        """Return what the parts decide."""
        duty, deficit, guarded = (decided(part, signals)[-1] for part in self.parts)
        share, replay = min(duty.duty, guarded.duty), guarded.replay
        is_replaying = len(signals) == 1 or signals[-1].replayed > 0
        replaying = f", replay at {replay:.0%}" if is_replaying else "; nothing is replayed"
        return Decision(
            signals[-1].step,
            duty=share,
            replay=replay,
            shares=deficit.shares,
            reason=f"align at {share:.0%} of the steps{replaying}. Target: {duty.reason}. "
            f"Languages: {deficit.reason}. Forgetting: {guarded.reason}",
        )


def decided(controller: Controller, signals: Sequence[Signals]) -> list[Decision]:
    """Return what a controller decides at each of some measurements, in turn."""
    found: list[Decision] = []
    for count in range(1, len(signals) + 1):
        found.append(controller.decide(signals[:count], found))
    return found
