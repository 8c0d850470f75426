"""`Guarded`: replay, and align less, where a run is heading beyond what may be forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from xalign.checks import number, positive
from xalign.control.decision import Decision
from xalign.control.signals import Signals
from xalign.errors import ArgumentError

_FEWEST = 3
"""Measurements from which on a heading is computed; before, the present rise stands for it."""
_RECENT = 2
"""Intervals between measurements that say how forgetting goes on."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Guarded:
    """Holds a run to a bound on forgetting, by replaying documents and by aligning with less weight.

    Forgetting is the rise of the guarded texts' language-modelling loss over what the task alone would make
    of it, where a reference run says that, or else over what it was at first. It is a share; of several
    languages, the mean. What counts is where it will stand at the end, and not where
    it stands: a rise at the highest learning rate comes down by itself as the rate falls (`heading_of`).

    Replay is doubled where the heading is beyond `aim` of the bound and halved where it is below `slack` of
    it. With full replay and a heading beyond it still, the weight is halved; it rises again once replay
    alone holds.

    Attributes:
        max_forgetting: The bound, as a share of the loss: 0.02 is 2 %.
        aim: The share of the bound that a run should end with.
        slack: Below this share of the bound, replay is halved.
        lowest_replay: The smallest share of steps with replay.
        lowest_weight: The smallest factor of the alignment loss.
    """

    max_forgetting: float = 0.02
    aim: float = 0.7
    slack: float = 0.4
    lowest_replay: float = 1 / 16
    lowest_weight: float = 1 / 16

    @property
    def name(self) -> str:
        """What logs call it."""
        return "guarded"

    def __post_init__(self) -> None:
        """Check every field."""
        positive("max_forgetting", self.max_forgetting)
        for name in ("aim", "slack", "lowest_replay", "lowest_weight"):
            if not 0 <= number(name, getattr(self, name)) <= 1:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must lie between 0 and 1")

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return the last decision with another replay and weight, where they are due."""
        now = signals[-1]
        before = decisions[-1] if decisions else Decision(replay=0.5)
        if not now.guard:
            return replace(before, step=now.step, reason="no guarded text was measured")
        present, heading = forgetting(signals)[-1], heading_of(signals, decisions)
        replay, weight = before.replay, before.weight
        if len(signals) == 1:
            return replace(before, step=now.step, reason=f"replay {replay:g}: nothing is forgotten yet")
        if heading > self.aim * self.max_forgetting:
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
    """Return, at each measurement, the mean share by which the guarded losses lie above what they should be.

    That is what the task alone would have made of them, where it is known; else what they were at first.
    """
    first = signals[0].guard

    def risen(one: Signals) -> float:
        rises = [one.guard[code] / one.guard_alone.get(code, first[code]) - 1 for code in first]
        return sum(rises) / len(rises) if rises else 0.0

    return [risen(one) for one in signals]


def heading_of(signals: Sequence[Signals], decisions: Sequence[Decision]) -> float:
    """Return the forgetting to expect at the end of the run, if it goes on as it does now.

    A rise has two parts. One follows the learning rate η and goes as it falls. The other lasts; it grows by
    alignment and shrinks by replay, both by as much as the rate allows. `transient` fits the first. The
    second is taken to go on as between the last three measurements, for as long as the rate, falling evenly
    to 0, still moves anything. Where the rate is not known or there are too few measurements, the heading is
    the present rise.

    Args:
        signals: The measurements.
        decisions: What was decided at each of those before the last.
    """
    rises = np.array(forgetting(signals))
    now = signals[-1]
    if len(signals) < _FEWEST or any(one.learning_rate is None for one in signals[1:]):
        return float(rises[-1])
    rates = np.array([0.0, *(float(one.learning_rate or 0.0) for one in signals[1:])])
    moved = np.diff([one.step for one in signals]) * (rates[1:] + rates[:-1]) / 2
    lasting = rises - transient(rises, rates, moved, decisions) * rates
    recent = min(_RECENT, len(moved) - 1)
    slope = (lasting[-1] - lasting[-1 - recent]) / max(moved[-recent:].sum(), _TINY)
    left = rates[-1] * max(0, now.max_steps - now.step) / 2
    return float(lasting[-1] + slope * left)


def transient(
    rises: NDArray[np.float64],
    rates: NDArray[np.float64],
    moved: NDArray[np.float64],
    decisions: Sequence[Decision],
) -> float:
    """Return what the highest learning rate alone adds to a rise.

    It fits a · η + b · (alignment so far) − c · (replay so far) to the rises by least squares, with none of
    them negative, and returns a.

    Args:
        rises: Forgetting at each measurement.
        rates: Learning rate at each, as a share of the largest; 0 at the first.
        moved: Between two measurements, the sum of the rates.
        decisions: What was decided at each measurement before the last.
    """
    aligned = np.array([one.weight * one.duty for one in decisions])
    replayed = np.array([one.replay for one in decisions])
    columns = (rates[1:], np.cumsum(moved * aligned), -np.cumsum(moved * replayed))
    scale = [max(float(np.abs(column).max()), _TINY) for column in columns]
    found, _ = nnls(np.stack([one / size for one, size in zip(columns, scale, strict=True)], 1), rises[1:])
    return float(found[0] / scale[0])
