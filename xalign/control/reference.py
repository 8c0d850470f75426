"""`Reference`: the guarded losses of a run that only learnt the task, to judge forgetting by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xalign.control.record import load_run
from xalign.errors import ReportError


@dataclass(frozen=True, slots=True)
class Reference:
    """What the task alone does to the guarded losses, by the share of the run that is done.

    Attributes:
        progress: Shares of the run, rising.
        losses: Language -> the loss at each of them, in nats per token.
    """

    progress: tuple[float, ...]
    losses: dict[str, tuple[float, ...]]

    @classmethod
    def load(cls, path: str | Path) -> "Reference":
        """Return the losses of a run that has recorded its decisions, as one with `control="fixed"` does.

        Args:
            path: Its `decisions.jsonl`, or the folder that it is in.

        Raises:
            ReportError: A file that cannot be read, or a run without guarded texts.
        """
        signals = [one for one, _ in load_run(path)]
        if not all(one.guard for one in signals):
            raise ReportError(
                f"{path} is of a run that measured no guarded text, so it says nothing of a task"
            )
        codes = signals[0].guard
        return cls(
            tuple(one.progress for one in signals),
            {code: tuple(one.guard[code] for one in signals) for code in codes},
        )

    def at(self, progress: float) -> dict[str, float]:
        """Return language -> loss at a share of the run, interpolated linearly between measurements.

        Example:
            >>> Reference((0.0, 1.0), {"eng_Latn": (2.0, 3.0)}).at(0.25)
            {'eng_Latn': 2.25}
        """
        return {
            code: float(np.interp(progress, self.progress, losses)) for code, losses in self.losses.items()
        }
