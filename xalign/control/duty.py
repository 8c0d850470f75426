"""`Duty`: align as often as it takes to reach a target in time."""

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
    """Align as often as it takes to reach a target in time, and no more often.

    The way to the target is a straight line, from a language's first score to its target at `deadline`. A
    language is surely ahead where the whole interval of its score lies above the line, and surely behind
    where all of it lies below. While all are ahead, the duty is halved; where one is behind, it is doubled.
    Nothing changes before two measurements in a row say the same, counted since the last change.

    So most pairs are trained on late. Alignment wears off within some fifty steps where it is not kept up,
    and what a run ends with is what counts. For the same reason it never stops altogether: by default one
    step in eight still aligns.

    Attributes:
        target: The score, as in `Target`.
        lowest: The smallest share of the steps.
        highest: The largest share of the steps.
        first: The share of the steps that a run begins with.
        deadline: The share of the run by which the target is to be reached; 0 wants it at once.
    """

    target: float | str = 0.8
    lowest: float = 1 / 8
    highest: float = 1.0
    first: float = 1 / 2
    deadline: float = 0.6

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
        for name in ("first", "deadline"):
            if not 0 <= number(name, getattr(self, name)) <= 1:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must lie between 0 and 1")

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return the last decision with another duty, where one is due."""
        now = signals[-1]
        first = min(self.highest, max(self.lowest, self.first))
        before = decisions[-1] if decisions else Decision(duty=first)
        goals = Target(self.target).check(signals[0])
        recent = signals[len(signals) - min(LOOKS, _since_change(decisions)) :]
        looks = [(one, self._line(one, signals[0], goals)) for one in recent]
        said = _weakest(now, self._line(now, signals[0], goals), goals)
        duty, why = before.duty, "no language is surely off its way"
        if len(looks) == LOOKS and all(_all_ahead(*look) for look in looks):
            duty, why = max(self.lowest, before.duty / 2), "every language is surely ahead"
        elif len(looks) == LOOKS and (behind := _behind_in_all(looks)):
            duty = min(self.highest, max(before.duty * 2, self.lowest))
            why = f"surely behind: {', '.join(behind)}"
        changed = "" if duty == before.duty else f", from {before.duty:g}"
        return replace(before, step=now.step, duty=duty, reason=f"duty {duty:g}{changed}: {why} ({said})")

    def _line(self, signals: Signals, first: Signals, goals: dict[str, float]) -> dict[str, float]:
        """Return language -> where it should be by now."""
        done = min(1.0, signals.progress / self.deadline) if self.deadline else 1.0
        return {
            code: first.alignment[code].value + done * (goal - first.alignment[code].value)
            for code, goal in goals.items()
        }


def _since_change(decisions: Sequence[Decision]) -> int:
    """Return the number of measurements after the last change of the duty, the present one included."""
    count = 1
    for after, before in zip(reversed(decisions), reversed(decisions[:-1]), strict=False):
        if after.duty != before.duty:
            return count
        count += 1
    return count if decisions else 0


def _all_ahead(signals: Signals, line: dict[str, float]) -> bool:
    return all(found.low >= line[language] for language, found in signals.alignment.items())


def _behind_in_all(looks: Sequence[tuple[Signals, dict[str, float]]]) -> list[str]:
    """Return the languages whose intervals lie below the line in all of some measurements."""

    def is_behind(signals: Signals, line: dict[str, float], language: str) -> bool:
        found: Estimate = signals.alignment[language]
        return found.high < line[language]

    return [code for code in sorted(looks[-1][1]) if all(is_behind(*look, code) for look in looks)]


def _weakest(signals: Signals, line: dict[str, float], goals: dict[str, float]) -> str:
    """Return the language furthest below the line, with its score."""
    language = min(sorted(goals), key=lambda code: signals.alignment[code].value - line[code])
    found = signals.alignment[language]
    return (
        f"{language} {found.value:.2f}, {found.low:.2f}–{found.high:.2f}; {line[language]:.2f} by now, "
        f"{goals[language]:.2f} in the end"
    )
