"""`Loop`: duty and guard together, and shares by deficit where asked; the default controller."""

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
    """Aligns as often as a target needs, within a bound on forgetting.

    Each part decides by itself: `Duty` how often to align, and `Guarded` how much to replay and how often to
    align at most. `Deficit` adds how to share the pairs among languages. It is off by default: in the Babel
    world that it was tried in, the weakest language ended lower with it than with even shares
    (docs/evidence.md).

    Attributes:
        target: The score to reach, as in `Target`.
        max_forgetting: The bound on the rise of the guarded loss, as a share of it.
        lowest: The smallest share of the steps that align.
        deficit: Whether `Deficit` shares the pairs out. Otherwise the shares are those of the pair stream.
    """

    target: float | str = 0.8
    max_forgetting: float = 0.02
    lowest: float = 1 / 8
    deficit: bool = False

    @property
    def name(self) -> str:
        """What logs call it."""
        return "loop"

    @property
    def parts(self) -> dict[str, Controller]:
        """The parts, by the name of their reason."""
        duty, guarded = Duty(self.target, self.lowest), Guarded(self.max_forgetting, lowest=self.lowest)
        languages = {"Languages": Deficit(self.target)} if self.deficit else {}
        return {"Target": duty, **languages, "Forgetting": guarded}

    def __post_init__(self) -> None:
        """Check every field, as the parts do."""
        _ = self.parts

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:  # noqa: ARG002
        """Return what the parts decide."""
        found = {called: decided(part, signals)[-1] for called, part in self.parts.items()}
        share = min(found["Target"].duty, found["Forgetting"].duty)
        replay = found["Forgetting"].replay
        is_replaying = len(signals) == 1 or signals[-1].replayed > 0
        replaying = f", replay at {replay:.0%}" if is_replaying else "; nothing is replayed"
        why = " ".join(f"{called}: {one.reason}." for called, one in found.items())
        return Decision(
            signals[-1].step,
            duty=share,
            replay=replay,
            shares=found["Languages"].shares if self.deficit else {},
            reason=f"align at {share:.0%} of the steps{replaying}. {why}".rstrip("."),
        )


def decided(controller: Controller, signals: Sequence[Signals]) -> list[Decision]:
    """Return what a controller decides at each of some measurements, in turn."""
    found: list[Decision] = []
    for count in range(1, len(signals) + 1):
        found.append(controller.decide(signals[:count], found))
    return found
