"""`Target`: the score that a controller aims at, as users say it."""

import re
from dataclasses import dataclass

from xalign.checks import number
from xalign.control.signals import Signals
from xalign.errors import ArgumentError

_MORE = re.compile(r"\+\s*(\d*\.?\d+)")
_HALF = "half the gap"


@dataclass(frozen=True, slots=True)
class Target:
    """A score to reach, the same for all languages or relative to where each of them began.

    Attributes:
        said: A score such as 0.85; `"+0.2"`, that much above the first measurement; or `"half the gap"`,
            half of the way from there to 1.

    Raises:
        ArgumentError: Anything else, or a score that is not above 0 and below 1.

    Example:
        >>> Target(0.85).of(0.5), Target("+0.25").of(0.5), Target("half the gap").of(0.5)
        (0.85, 0.75, 0.75)
    """

    said: float | str = 0.8

    def __post_init__(self) -> None:
        """Check it."""
        amount = self._amount()
        if not 0 < amount < 1:
            raise ArgumentError(
                f"target={self.said!r} must lie above 0 and below 1, where 1 is a perfect score"
            )

    def _amount(self) -> float:
        if self.said == _HALF:
            return 0.5
        if isinstance(self.said, str):
            found = _MORE.fullmatch(self.said.strip())
            if found is None:
                raise ArgumentError(
                    f"target={self.said!r:.60} must be a score like 0.85, a gain like '+0.2', or {_HALF!r}"
                )
            return float(found[1])
        return number("target", self.said)

    def of(self, start: float) -> float:
        """Return the score to reach from a first score.

        Raises:
            ArgumentError: More than a perfect score.
        """
        amount = self._amount()
        if self.said == _HALF:
            return start + amount * (1 - start)
        goal = start + amount if isinstance(self.said, str) else amount
        if goal > 1:
            raise ArgumentError(
                f"target={self.said!r}: from {start:.2f} on that is {goal:.2f}, and 1 is perfect"
            )
        return goal

    def check(self, first: Signals) -> dict[str, float]:
        """Return language -> the score to reach, given the first measurement of a run.

        Raises:
            ArgumentError: All languages are surely there already, or one of them would need more than 1.
        """
        goals = {language: self.of(found.value) for language, found in first.alignment.items()}
        if goals and all(found.low >= goals[language] for language, found in first.alignment.items()):
            scores = ", ".join(f"{language} {found.value:.2f}" for language, found in first.alignment.items())
            raise ArgumentError(
                f"target={self.said!r} is below the scores before training ({scores}): give a higher one, "
                "'+0.2', or 'half the gap'"
            )
        return goals
