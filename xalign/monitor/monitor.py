"""`AlignmentMonitor`: the same measurement again and again, in any training loop."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.arguments import whole_number
from xalign.measurement import Measurement, MeasureOptions
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.results.saved import check_folder


class AlignmentMonitor:
    """Measures a model on the same pairs at the steps of a training loop.

    Everything is checked and tokenized when the monitor is built; between measurements the model carries no
    hook.

    Args:
        model: The model being trained.
        tokenizer: Its tokenizer.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        metrics: Names of metrics, as in `measure`.
        every: `step(n)` measures where n is a multiple of it; at every call where None.
        save_dir: Keeps each report there, under `step-00000200`.
        **options: The options of `measure`.

    Attributes:
        reports: The reports so far.

    Raises:
        ArgumentError: As `measure`, and for `every` below 1.
        ReportError: `save_dir` cannot be written.

    Example:
        >>> monitor = AlignmentMonitor(model, tokenizer, pairs, every=100)
        >>> for step in range(201):
        ...     _ = monitor.step(step)  # after the training step
        >>> [report.step for report in monitor.reports]
        [0, 100, 200]
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        pairs: ParallelPairs | str | Path = "bundled",
        metrics: Sequence[str] = ("nasca",),
        *,
        every: int | None = None,
        save_dir: str | Path | None = None,
        **options: Unpack[MeasureOptions],
    ) -> None:
        self.every = checked_every(every)
        self.measurement = Measurement(model, tokenizer, pairs, metrics, **options)
        self.save_dir = None if save_dir is None else check_folder(save_dir)
        if self.save_dir is not None and any(self.save_dir.glob("step-*")):
            warnings.warn(
                f"{self.save_dir} holds reports of an earlier run: those of equal steps will be replaced, "
                "the others stay",
                UserWarning,
                stacklevel=2,
            )
        self.reports: list[AlignmentReport] = []

    def step(self, n: int) -> AlignmentReport | None:
        """Measures if step n is due and was not measured last; returns the report, or None.

        Args:
            n: The number of training steps done.
        """
        n = whole_number("n", n)
        if self.every is not None and n % self.every:
            return None
        if self.reports and self.reports[-1].step == n:
            return None
        return self.measure(n)

    def measure(self, n: int) -> AlignmentReport:
        """Measures now, whatever the cadence, and keeps the report under step n."""
        report = self.measurement.run(whole_number("n", n))
        self.reports.append(report)
        if self.save_dir is not None:
            report.save(self.save_dir / f"step-{n:08d}", overwrite=True)
        return report

    def to_rows(self) -> list[dict[str, Any]]:
        """The rows of all reports so far, with their steps."""
        return [row for report in self.reports for row in report.to_rows()]

    @property
    def cost_line(self) -> str:
        """What one measurement costs, in words."""
        pairs, measurement = self.measurement.pairs, self.measurement
        counts = sorted(set(pairs.counts.values()))
        each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return (
            f"xalign: one measurement is {len(pairs)} languages × {each} pairs with {pairs.pivot}, "
            f"{measurement.tokens:,} tokens in {measurement.forwards} forwards"
        )


def checked_every(every: int | None) -> int | None:
    """A cadence in steps, or an error."""
    return None if every is None else whole_number("every", every, least=1)
