"""`Deficit`: more pairs for the languages that are behind and that pairs help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xalign.checks import number
from xalign.control.decision import Decision
from xalign.control.signals import Signals
from xalign.control.target import Target
from xalign.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Deficit:
    """Share the pairs out by each language's distance from its target, times its gain per pair.

    The gain per pair is measured: the rise of the score since the run began, divided by the pairs trained on.
    It is mixed with the mean gain of all languages, as if each had trained on `prior` pairs more, so that one
    lucky measurement changes little. Every language keeps a floor, so that its gain stays known.

    Attributes:
        target: The score, as in `Target`.
        floor: What every language keeps, as a share of an even share.
        prior: How many pairs the mean gain counts as.
    """

    target: float | str = 0.8
    floor: float = 0.25
    prior: float = 500.0

    @property
    def name(self) -> str:
        """What logs call it."""
        return "deficit"

    def __post_init__(self) -> None:
        """Check the floor."""
        Target(self.target)
        if not 0 < number("floor", self.floor) <= 1:
            raise ArgumentError(f"floor={self.floor!r} must lie above 0, and at 1 or below")
        if number("prior", self.prior) <= 0:
            raise ArgumentError(f"prior={self.prior!r} must be above 0: a number of pairs")

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return the last decision with other shares."""
        first, now = signals[0], signals[-1]
        before = decisions[-1] if decisions else Decision()
        goals = Target(self.target).check(first)
        deficits = {code: max(0.0, goal - now.alignment[code].value) for code, goal in goals.items()}
        gains = self._gains(first, now)
        wanted = {code: deficits[code] * gains[code] for code in sorted(goals)}
        shares = self._floored(wanted)
        largest = max(sorted(shares), key=lambda code: shares[code])
        said = f"most pairs to {largest} ({shares[largest]:.0%}): {deficits[largest]:.2f} below its target"
        if not any(deficits.values()):
            said = "even shares: every language is at its target"
        return replace(before, step=now.step, shares=shares, reason=said)

    def _gains(self, first: Signals, now: Signals) -> dict[str, float]:
        """Return language -> gain per pair, never below a tenth of the mean."""
        rises = {code: found.value - first.alignment[code].value for code, found in now.alignment.items()}
        pairs = {code: now.pairs.get(code, 0) - first.pairs.get(code, 0) for code in rises}
        trained = sum(pairs.values())
        mean = max(0.0, sum(rises.values())) / trained if trained else 0.0
        if not mean:
            return dict.fromkeys(rises, 1.0)
        gains = {code: (rises[code] + self.prior * mean) / (pairs[code] + self.prior) for code in rises}
        return {code: max(gain, mean / 10) for code, gain in gains.items()}

    def _floored(self, wanted: Mapping[str, float]) -> dict[str, float]:
        """Return shares that sum to 1, each at least the floor's part of an even share."""
        total, count = sum(wanted.values()), len(wanted)
        free = 1 - self.floor
        parts = {code: one / total if total > 0 else 1 / count for code, one in wanted.items()}
        return {code: self.floor / count + free * part for code, part in parts.items()}
