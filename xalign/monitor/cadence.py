"""`Cadence`: the steps at which to measure, and the share of the time that this takes."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.distributed import Ranks

Rhythm = Literal["auto", "log"]
Every = int | Rhythm | None
FIRST_LOOK = 10  # steps after which "auto" knows how long a step takes


class Cadence:
    """Says at which steps to measure a run.

    With `every="auto"` it waits until one more measurement keeps the measurements' share of the run's time at
    `max_share` or below. It predicts this from the time that steps and measurements took so far. With several
    processes, the first one decides for all of them.

    With `every="log"` it measures after steps 1, 2, 4, 8 and so on, because a model learns fast at first.

    Args:
        every: A number of steps, `"auto"`, `"log"`, or None for no cadence of its own.
        at_steps: Steps after which to measure as well.
        max_share: The largest share of the run's time, in (0, 1). `every="auto"` keeps to it.
        ranks: The processes that measure together.
        clock: Returns seconds, counted from any start.

    Attributes:
        every: As given.
        at_steps: As given, each once.
        max_share: As given.

    Raises:
        ArgumentError: `every` or one of `at_steps` below 1, or a share outside (0, 1).
        ArgumentTypeError: `at_steps` is no list of whole numbers.

    Example:
        >>> cadence = Cadence(100)
        >>> [step for step in range(1, 301) if cadence.is_due(step)]
        [100, 200, 300]
        >>> log = Cadence("log", at_steps=[3, 100])
        >>> [step for step in range(1, 301) if log.is_due(step)]
        [1, 2, 3, 4, 8, 16, 32, 64, 100, 128, 256]
    """

    def __init__(
        self,
        every: Every = None,
        max_share: float = 0.02,
        *,
        at_steps: Sequence[int] = (),
        ranks: Ranks | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if isinstance(every, str) and every not in get_args(Rhythm):
            raise ArgumentError(f"every={every!r} must be a number of steps, 'auto', 'log', or None")
        self.every: Every = (
            every if every is None or isinstance(every, str) else whole_number("every", every, least=1)
        )
        if not isinstance(at_steps, list | tuple):
            raise ArgumentTypeError(f"at_steps={at_steps!r:.60} must be a list of steps, like [10, 100]")
        self.at_steps = frozenset(whole_number("at_steps", step, least=1) for step in at_steps)
        if not positive("max_share", max_share) < 1:
            raise ArgumentError(f"max_share={max_share} must lie between 0 and 1: a share of the run's time")
        self.max_share = float(max_share)
        self._ranks, self._clock = ranks or Ranks(), clock
        self._advised = False
        self.begin(0)

    def begin(self, step: int, cost: float = math.nan) -> None:
        """Start to count time: the run begins, or continues, after this step.

        Args:
            step: The number of steps done.
            cost: Seconds that a measurement took before the run was resumed; NaN where there was none.
        """
        self._started, self._first_step = self._clock(), step
        self._spent, self._last = 0.0, cost
        self._next = step + FIRST_LOOK

    def is_due(self, step: int) -> bool:
        """Return whether to measure after this step. With several processes, all must ask at every step."""
        if step in self.at_steps:
            return True
        if self.every is None:
            return False
        if self.every == "log":
            return step > 0 and step & (step - 1) == 0  # a power of two
        if self.every != "auto":
            return step % self.every == 0
        if step < self._next:
            return False
        wait = self._ranks.broadcast(self._steps_to_wait(step))
        self._next = step + wait
        return wait <= 0

    def measured(self, step: int, seconds: float) -> None:
        """Note how many seconds a measurement after this step took."""
        self._spent += seconds
        self._last = seconds
        self._next = max(self._next, step + 1)

    @property
    def share(self) -> float:
        """The share of the run's time so far that measuring took, with start and evaluations."""
        elapsed = self._clock() - self._started
        return self._spent / elapsed if elapsed > 0 else 0.0

    def advice(self, step: int) -> str | None:
        """Return a sentence, once, if a fixed cadence takes more than `max_share`; otherwise None.

        It speaks of the time from one measurement to the next, which `every` decides, and names `share` too.
        """
        trained = self._trained
        if self._advised or not isinstance(self.every, int) or step < self._first_step + 2 * self.every:
            return None
        per_step = trained / (step - self._first_step)
        share = self._last / (self._last + self.every * per_step)
        if not share > self.max_share:
            return None
        self._advised = True
        enough = math.ceil(self._last * (1 / self.max_share - 1) / per_step) if per_step > 0 else "auto"
        return (
            f"xalign: measuring every {self.every} steps takes {share:.0%} of the time from one measurement "
            f"to the next; every={enough} would keep it to {self.max_share:.0%}. Of the run so far, it "
            f"took {self.share:.0%} (alignment_share)"
        )

    @property
    def _trained(self) -> float:
        """Seconds so far, without those of measurements."""
        return self._clock() - self._started - self._spent

    def _steps_to_wait(self, step: int) -> int:
        if math.isnan(self._last):
            return 0
        elapsed = self._clock() - self._started
        per_step = self._trained / max(step - self._first_step, 1)
        # Seconds of training that bring the share down to max_share, one more measurement included.
        missing = (self._spent + self._last) / self.max_share - elapsed - self._last
        return math.ceil(missing / per_step) if missing > 0 and per_step > 0 else 0
