"""`Guarded`: replay, and align less, where a run is heading beyond what may be forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xalign.checks import number, positive
from xalign.control.decision import Decision
from xalign.control.signals import Signals
from xalign.errors import ArgumentError

_FEWEST = 3
"""Measurements from which on a heading is computed; before, the present rise stands for it."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """Holds a run to a bound on forgetting, by replaying documents and by aligning with less weight.

    Forgetting is the rise of the guarded texts' language-modelling loss since the run began, as a share of
    what it was; of several languages, the mean. What counts is where it will stand at the end, and not where
    it stands: a rise at the highest learning rate comes down by itself as the rate falls. The heading is a
    fit, over all measurements, of a part that follows the learning rate now and of a part that follows the
    sum of the rates so far; at the end, only the second is left.

    Replay is doubled where the heading is beyond the bound and halved where it is below `slack` of it. With
    full replay and a heading beyond the bound still, the weight is halved; it rises again once replay alone
    holds.

    Attributes:
        max_forgetting: The bound, as a share of the loss: 0.02 is 2 %.
        slack: Below this share of the bound, replay is halved.
        lowest_replay: The smallest share of steps with replay.
        lowest_weight: The smallest factor of the alignment loss.
    """

    max_forgetting: float = 0.02
    slack: float = 0.5
    lowest_replay: float = 1 / 16
    lowest_weight: float = 1 / 16

    @property
    def name(self) -> str:
        """What logs call it."""
        return "guarded"

    def __post_init__(self) -> None:
        """Check every field."""
        positive("max_forgetting", self.max_forgetting)
        for name in ("slack", "lowest_replay", "lowest_weight"):
            if not 0 <= number(name, getattr(self, name)) <= 1:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must lie between 0 and 1")

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return the last decision with another replay and weight, where they are due."""
        now = signals[-1]
        before = decisions[-1] if decisions else Decision(replay=0.5)
        if not now.guard:
            return replace(before, step=now.step, reason="no guarded text was measured")
        present, heading = forgetting(signals)[-1], heading_of(signals)
        replay, weight = before.replay, before.weight
        if len(signals) == 1:
            return replace(before, step=now.step, reason=f"replay {replay:g}: nothing is forgotten yet")
        if heading > self.max_forgetting:
            weight = weight if replay < 1 else max(self.lowest_weight, weight / 2)
            replay = min(1.0, 2 * max(replay, self.lowest_replay))
        elif heading < self.slack * self.max_forgetting:
            replay = replay if weight < 1 else max(self.lowest_replay, replay / 2)
            weight = min(1.0, 2 * weight)
        said = (
            f"replay {replay:g}, weight {weight:g}: the guarded loss stands at {present:+.1%} and is heading "
            f"for {heading:+.1%}; the bound is {self.max_forgetting:.1%}"
        )
        return replace(before, step=now.step, replay=replay, weight=weight, reason=said)


def forgetting(signals: Sequence[Signals]) -> list[float]:
    """Return, at each measurement, the mean rise of the guarded losses since the first, as a share of it."""
    first = signals[0].guard
    return [
        sum(one.guard[code] / first[code] - 1 for code in first) / len(first) if first else 0.0
        for one in signals
    ]


def heading_of(signals: Sequence[Signals]) -> float:
    """Return the forgetting to expect at the end of the run.

    With a learning rate η(t), as a share of the largest, it fits a · η(t) + b · Σ η up to t to the rises so
    far, by least squares with a and b not negative, and returns b · Σ η of the whole run, if the rate falls
    evenly to 0. Where the rate is not known or there are too few measurements, it is the present rise.
    """
    rises = forgetting(signals)
    now = signals[-1]
    rates = [one.learning_rate for one in signals]
    if len(signals) < _FEWEST or now.learning_rate is None or any(rate is None for rate in rates[1:]):
        return rises[-1]
    known = np.array([0.0, *(float(rate or 0.0) for rate in rates[1:])])
    steps = np.array([one.step for one in signals], dtype=float)
    sums = np.concatenate([[0.0], np.cumsum(np.diff(steps) * (known[1:] + known[:-1]) / 2)])
    from scipy.optimize import nnls

    (_, slow), _ = nnls(np.stack([known, sums / max(sums[-1], 1e-12)], axis=1)[1:], np.array(rises[1:]))
    left = known[-1] * max(0, now.max_steps - now.step) / 2
    return float(slow * (sums[-1] + left) / max(sums[-1], 1e-12))
