"""`Duty`: align as often as it takes to hold a target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xalign.checks import number
from xalign.control.decision import Decision
from xalign.control.signals import Estimate, Signals
from xalign.control.target import Target
from xalign.errors import ArgumentError

LOOKS = 2
"""Measurements in a row that must agree before anything changes."""


@dataclass(frozen=True, slots=True)
class Duty:
    """Halves the share of steps that align while a target is held, and doubles it when a language falls.

    A language surely holds its target where the whole interval of its score lies above, and has fallen where
    all of it lies below. Nothing changes before two measurements in a row say the same, counted since the
    last change. In between, the duty stays.

    Alignment that is switched off wears off within some fifty steps, so a part stays on: by default one step
    in eight.

    Attributes:
        target: The score, as in `Target`.
        lowest: The smallest share of the steps.
        highest: The largest share of the steps, and the first one.
    """

    target: float | str = 0.8
    lowest: float = 1 / 8
    highest: float = 1.0

    @property
    def name(self) -> str:
        """What logs call it."""
        return "duty"

    def __post_init__(self) -> None:
        """Check the bounds."""
        Target(self.target)
        if not 0 <= number("lowest", self.lowest) <= number("highest", self.highest) <= 1:
            raise ArgumentError(
                f"lowest={self.lowest!r} and highest={self.highest!r} must satisfy 0 ≤ lowest ≤ highest ≤ 1"
            )

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return the last decision with another duty, where one is due."""
        now = signals[-1]
        before = decisions[-1] if decisions else Decision(duty=self.highest)
        goals = Target(self.target).check(signals[0])
        recent = signals[len(signals) - min(LOOKS, _since_change(decisions)) :]
        if len(recent) == LOOKS and all(_all_hold(one, goals) for one in recent):
            duty = max(self.lowest, before.duty / 2)
            said = f"every language surely holds its target ({_weakest(now, goals)})"
        elif len(recent) == LOOKS and (fallen := _fallen_in_all(recent, goals)):
            duty = min(self.highest, max(before.duty * 2, self.lowest))
            said = f"surely below the target: {', '.join(fallen)} ({_weakest(now, goals)})"
        else:
            duty, said = before.duty, f"no language surely crossed its target ({_weakest(now, goals)})"
        changed = "" if duty == before.duty else f", from {before.duty:g}"
        return replace(before, step=now.step, duty=duty, reason=f"duty {duty:g}{changed}: {said}")


def _since_change(decisions: Sequence[Decision]) -> int:
    """Return the number of measurements after the last change of the duty, the present one included."""
    count = 1
    for after, before in zip(reversed(decisions), reversed(decisions[:-1]), strict=False):
        if after.duty != before.duty:
            return count
        count += 1
    return count if decisions else 0


def _all_hold(signals: Signals, goals: dict[str, float]) -> bool:
    return all(found.low >= goals[language] for language, found in signals.alignment.items())


def _fallen_in_all(recent: Sequence[Signals], goals: dict[str, float]) -> list[str]:
    """Return the languages whose intervals lie below their targets in all of some measurements."""

    def is_below(signals: Signals, language: str) -> bool:
        found: Estimate = signals.alignment[language]
        return found.high < goals[language]

    return [language for language in sorted(goals) if all(is_below(one, language) for one in recent)]


def _weakest(signals: Signals, goals: dict[str, float]) -> str:
    """Return the language furthest below its target, with its score."""
    language = min(sorted(goals), key=lambda code: signals.alignment[code].value - goals[code])
    found = signals.alignment[language]
    return f"{language} {found.value:.2f}, {found.low:.2f}–{found.high:.2f}; target {goals[language]:.2f}"
