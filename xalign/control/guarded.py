"""`Guarded`: replay, and align less, where a run forgets more than it can still repair."""

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
_LEAST, _MOST = -1.0, 2.0
"""Powers of 2 by which one measurement changes the caution."""
_HASTE = 2.0
"""How much faster it rises than it falls: what is forgotten late cannot be repaired."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Guarded:
    """Holds a run to a bound on forgetting, by replaying documents and by aligning less often.

    Forgetting is the rise of the guarded texts' language-modelling loss over what the task alone would make
    of it, if a reference run tells that, and otherwise over its first value (`forgetting`, `heading_of`). It
    is a share of the loss, averaged over languages.

    What counts is the end of the run. Early on a rise may be larger, since there is time to repair it: it may
    be `aim + early × left` of the bound, where `left` is the share of the run's learning that is still to
    come. Each measurement multiplies the caution by 2 to the power of (rise ÷ allowed rise − 1), or of twice
    that if it is above 0; this factor stays between ½ and 4. A measurement is noisy, and what is forgotten
    late cannot be repaired. So caution falls by the larger of the last two powers, and not at all if one is
    above 0; it rises at once. Caution up to 1 is the share of steps with replay. Beyond 1 every step replays,
    and pairs are trained on at 1/caution of the steps. A run begins with caution 1; if nothing is replayed,
    it never falls below 1.

    Attributes:
        max_forgetting: The bound, as a share of the loss: 0.02 is 2 %.
        aim: The share of the bound that a run should end with.
        early: How much more a rise may be at the beginning, as a share of the bound.
        lowest_replay: The smallest share of steps with replay.
        lowest: The smallest share of steps that align.
    """

    max_forgetting: float = 0.02
    aim: float = 0.4
    early: float = 0.5
    lowest_replay: float = 1 / 16
    lowest: float = 1 / 8

    @property
    def name(self) -> str:
        """What logs call it."""
        return "guarded"

    def __post_init__(self) -> None:
        """Check every field."""
        positive("max_forgetting", self.max_forgetting)
        positive("early", self.early, zero=True)
        for name in ("aim", "lowest_replay", "lowest"):
            if not 0 < number(name, getattr(self, name)) <= 1:
                raise ArgumentError(f"{name}={getattr(self, name)!r} must lie above 0, and at 1 or below")

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return the last decision with another replay and duty, where they are due."""
        now = signals[-1]
        before = decisions[-1] if decisions else Decision()
        if not now.guard:
            return replace(before, step=now.step, reason="no guarded text was measured")
        if len(signals) == 1:
            return replace(
                before, step=now.step, reason=f"replay {before.replay:g}: nothing is forgotten yet"
            )
        rise, allowed = heading_of(signals, decisions), self.allowed(signals)
        beyond = rise / allowed - 1
        if beyond < 0:  # the measurement before must agree
            earlier = heading_of(signals[:-1], decisions[:-1]) / self.allowed(signals[:-1]) - 1
            beyond = min(0.0, max(beyond, earlier))
        power = max(_LEAST, min(_MOST, _HASTE * beyond if beyond > 0 else beyond))
        caution = before.replay if before.replay < 1 else 1 / before.duty
        least = self.lowest_replay if now.replayed else 1.0
        caution = max(least, min(1 / self.lowest, caution * 2**power))
        duty, replay = min(1.0, 1 / caution), min(1.0, caution)
        said = (
            f"replay {replay:.2g}, duty at most {duty:.2g}: forgetting is {forgetting(signals)[-1]:+.1%}, "
            f"heading for {rise:+.1%}; it may be {allowed:+.1%} now, to end at {self.max_forgetting:.1%}"
        )
        return replace(before, step=now.step, replay=replay, duty=duty, reason=said)

    def allowed(self, signals: Sequence[Signals]) -> float:
        """Return what the rise may be now."""
        return self.max_forgetting * (self.aim + self.early * _left(signals))


def _left(signals: Sequence[Signals]) -> float:
    """Return the share of a run's learning that is still to come: of its steps, times their learning rates.

    The rate is taken to fall evenly to 0 from now on. Where it is not known, steps count alike.
    """
    now = signals[-1]
    if any(one.learning_rate is None for one in signals):
        return 1 - now.progress
    done, to_come = float(moved_in(signals).sum()), _to_come(now)
    return to_come / (done + to_come) if to_come else 0.0


def _to_come(now: Signals) -> float:
    return float(now.learning_rate or 0.0) * max(0, now.max_steps - now.step) / 2


def forgetting(signals: Sequence[Signals]) -> list[float]:
    """Return, at each measurement, the mean share by which the guarded losses lie above what they should be.

    They should be what the task alone would have made of them, if that is known, and otherwise what they were
    at first.
    """
    first = signals[0].guard

    def risen(one: Signals) -> float:
        rises = [one.guard[code] / one.guard_alone.get(code, first[code]) - 1 for code in first]
        return sum(rises) / len(rises) if rises else 0.0

    return [risen(one) for one in signals]


def heading_of(signals: Sequence[Signals], decisions: Sequence[Decision]) -> float:
    """Return the forgetting to judge a run by.

    If a reference run tells what the task alone does, it is the present forgetting. Otherwise part of that
    follows the learning rate η, goes away as η falls, and is no reason to align less; `transient` fits this
    part. Without this part, the rise is taken to go on as between the last three measurements, for as long as
    the rate, falling evenly to 0, still moves anything. Where the rate is not known or there are too few
    measurements, it is the present rise too.

    Args:
        signals: The measurements.
        decisions: What was decided at each of those before the last.
    """
    rises = np.array(forgetting(signals))
    now = signals[-1]
    is_unknown = any(one.learning_rate is None for one in signals[1:])
    if now.guard_alone or len(signals) < _FEWEST or is_unknown:
        return float(rises[-1])
    rates, moved = _rates(signals), moved_in(signals)
    lasting = rises - transient(rises, rates, moved, decisions) * rates
    recent = min(_RECENT, len(moved) - 1)
    slope = (lasting[-1] - lasting[-1 - recent]) / max(moved[-recent:].sum(), _TINY)
    return float(lasting[-1] + slope * _to_come(now))


def _rates(signals: Sequence[Signals]) -> NDArray[np.float64]:
    return np.array([0.0, *(float(one.learning_rate or 0.0) for one in signals[1:])])


def moved_in(signals: Sequence[Signals]) -> NDArray[np.float64]:
    """Return, between each two measurements, the sum of the learning rates of the steps."""
    rates = _rates(signals)
    moved: NDArray[np.float64] = np.diff([one.step for one in signals]) * (rates[1:] + rates[:-1]) / 2
    return moved


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
