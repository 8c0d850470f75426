"""`AlignmentMonitor`: the same measurement again and again, in any training loop."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Measurement, Metrics
from xalign.model.distributed import Ranks
from xalign.model.wrapped import adapter_disabled, has_adapter
from xalign.monitor.cadence import Cadence, Every
from xalign.monitor.scalars import named, scalars
from xalign.pairs.parallel import ParallelPairs, count_range
from xalign.results.history import NAME, History, folder_name
from xalign.results.report import AlignmentReport
from xalign.results.saved import check_folder
from xalign.statistics.regressions import Regression, find_regressions

MOST_UNKNOWN = 0.5  # share of tokens
MOST_NAMED = 5  # falls in one warning
OnRegression = Literal["warn", "ignore"] | Callable[[str, str, Regression], object]


class AlignmentMonitor:
    """Measures a model on the same pairs at the steps of a training loop.

    Everything is checked and tokenized when the monitor is built; between measurements the model carries no
    hook. With several processes of `torch.distributed` all of them call it: they share the forwards, all get
    the report, and the first writes.

    A loop that resumes builds its monitor on the same `save_dir` and goes on calling `step(n)`: the history
    is continued, and what it holds from step n on is replaced. One that starts at step 0 begins a new
    history; what an earlier run left there moves to `earlier-1`.

    Args:
        model: The model being trained.
        tokenizer: Its tokenizer.
        pairs: Held-out parallel sentences, or what `load_pairs` takes.
        metrics: Names of metrics, as in `measure`.
        every: `step(n)` measures where n is a multiple of it; at every call where None; `"auto"` as often as
            `max_share` allows.
        max_share: The largest share of the time that measuring may take: kept to with `every="auto"`, said
            once where a number takes more.
        save_dir: Keeps `history.jsonl` there, and each report under `step-00000200`.
        save_reports: Whether reports are kept, with their sentences and bits, or only the history.
        on_regression: What to do where a language falls significantly below its best so far (see `find_regressions`):
            `"warn"`, `"ignore"`, or a function (metric, language, fall), called in the first process.
        name: Goes in front of the keys of `scalars`.
        **options: The options of `measure`.

    Attributes:
        reports: The reports so far.
        base: The report of the model without its adapter, where it has one: measured once, since its weights
            stay as they are.
        history: The run so far, what it was before it resumed included.
        falls: The falls that were told of: step, metric, language, fall.

    Raises:
        ArgumentError: As `measure`, and for a cadence that is none.
        ReportError: `save_dir` cannot be written, or holds a history that cannot be continued.

    Example:
        >>> monitor = AlignmentMonitor(model, tokenizer, pairs, every=100)
        >>> for step in range(101):
        ...     _ = monitor.step(step)  # after the training step
        >>> [report.step for report in monitor.reports]
        [0, 100]
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        pairs: ParallelPairs | str | Path = "bundled",
        metrics: Metrics = ("nasca",),
        *,
        every: Every = None,
        max_share: float = 0.02,
        save_dir: str | Path | None = None,
        save_reports: bool = True,
        on_regression: OnRegression = "warn",
        name: str = "",
        **options: Unpack[MeasureOptions],
    ) -> None:
        self._ranks = Ranks(shared=True)
        self.cadence = Cadence(every, max_share, ranks=self._ranks)
        if on_regression not in ("warn", "ignore") and not callable(on_regression):
            raise ArgumentTypeError(
                f"on_regression={on_regression!r:.60} must be 'warn', 'ignore', or a function (metric, "
                "language, fall)"
            )
        self._on_regression = on_regression
        self.name = checked_name(name)
        self.measurement = Measurement(model, tokenizer, pairs, metrics, distributed=True, **options)
        unknown = {
            code: share for code, share in self.measurement.unknown_shares.items() if share > MOST_UNKNOWN
        }
        if unknown:
            shares = ", ".join(f"{code} {share:.0%}" for code, share in unknown.items())
            warnings.warn(
                f"most tokens of some languages are unknown to this tokenizer: {shares}; their curves say "
                "nothing",
                UserWarning,
                stacklevel=2,
            )
        self.save_dir: Path | None = None
        with self._ranks.raise_everywhere():
            if save_dir is not None and self.is_first_process:
                self.save_dir = check_folder(save_dir)
            self.history = History(None if self.save_dir is None else self.save_dir / NAME)
        self._save_reports = save_reports
        self.reports: list[AlignmentReport] = []
        self.base: AlignmentReport | None = None
        self.regressions: list[tuple[int, str, str, Regression]] = []
        self._fallen: set[tuple[str, str]] = set()
        self._series: dict[tuple[str, str], list[Any]] = {}  # per metric and language
        self._begun = False
        self._has_failed_to_write = False

    @property
    def is_first_process(self) -> bool:
        """Whether this process writes."""
        return self._ranks.index == 0

    def step(self, n: int) -> AlignmentReport | None:
        """Measures if step n is due and was not measured last; returns the report, or None.

        Args:
            n: The number of training steps done.
        """
        n = whole_number("n", n)
        is_first = not self._begun
        if is_first:
            self.begin(n)
        elif self.reports and self.reports[-1].step == n:
            return None
        every = self.cadence.every
        starts = is_first and every == "auto"
        return self.measure(n) if every is None or starts or self.cadence.is_due(n) else None

    def begin(self, n: int, *, measured: bool = False) -> bool:
        """Begins at step n, or goes on from there.

        Args:
            n: The step at which the loop stands. At 0 a new history begins.
            measured: Whether what the history holds of step n itself is kept, or replaced.

        Returns:
            Whether the history holds step n.
        """
        self._begun = True
        self.reports, self._series, self._fallen = [], {}, set()
        with self._ranks.raise_everywhere():
            if n == 0 and not measured:
                self._set_aside()
            else:
                self.history.check(self.measurement.provenance, self.measurement.readings)
                self.history.keep_until(n if measured else n - 1)
                self._recall()
        before = self.history.entries[-1]["cost"]["seconds"] if self.history.entries else math.nan
        is_measured, cost = self._ranks.broadcast((n in self.history.steps, before))
        self.cadence.begin(n, cost)
        return is_measured

    def measure(self, n: int) -> AlignmentReport:
        """Measures now, whatever the cadence, and keeps the report under step n."""
        n = whole_number("n", n)
        if not self._begun:
            self.begin(n)
        last = self.reports[-1].step if self.reports else None
        if last is not None and n < last:
            raise ArgumentError(
                f"n={n} is before step {last}, the last one measured: count steps over the whole run"
            )
        started = time.perf_counter()
        report = self.measurement.run(n)
        if self.base is None and has_adapter(self.measurement.model):
            self.base = self._without_adapter()
        self.reports = [*(earlier for earlier in self.reports if (earlier.step or 0) < n), report]
        with self._ranks.raise_everywhere():
            if self.is_first_process:
                self._keep(report)
                self._watch(report)
        self.cadence.measured(n, time.perf_counter() - started)
        advice = self.cadence.advice(n)
        if advice and self.is_first_process:
            print(advice)  # noqa: T201
        return report

    def _without_adapter(self) -> AlignmentReport:
        """The report of the base model."""
        with adapter_disabled(self.measurement.model):
            return self.measurement.run()

    @property
    def scalars(self) -> dict[str, float]:
        """What to log of the last report.

        Its pooled values; where there is an adapter, `nasca_over_base`, by how much they lie above the
        model's without it; and what measuring cost: `alignment_seconds`, and `alignment_share` of the time.
        """
        if not self.reports:
            return {}
        last = self.reports[-1]
        values = scalars(last)
        if self.base is not None:
            values |= {
                f"{metric}_over_base": last.score(metric) - self.base.score(metric)
                for metric in last.measured
            }
        values |= {"alignment_seconds": last.cost.seconds, "alignment_share": self.cadence.share}
        return {named(key, self.name): value for key, value in values.items()}

    def to_rows(self) -> list[dict[str, Any]]:
        """The rows of all reports so far, with their steps."""
        return [row for report in self.reports for row in report.to_rows()]

    @property
    def cost_line(self) -> str:
        """What one measurement costs, in words."""
        pairs, measurement = self.measurement.pairs, self.measurement
        each = count_range(pairs.counts.values())
        return (
            f"xalign: one measurement is {len(pairs)} languages × {each} pairs with {pairs.pivot}, "
            f"{measurement.tokens:,} tokens in {measurement.forwards} forwards"
        )

    def _keep(self, report: AlignmentReport) -> None:
        """Writes what is to be kept. A full disk does not end a training run."""
        step = report.step or 0
        self.history.keep_until(step - 1)  # the same step again: its weights were changed
        try:
            self.history.append(report)
        except OSError as error:
            self._say_what_failed(error)
        if self.save_dir is None or not self._save_reports:
            return
        try:
            report.save(self._folder_of(step), overwrite=True)
        except (OSError, ReportError) as error:
            self._say_what_failed(error)

    def _say_what_failed(self, error: Exception) -> None:
        if not self._has_failed_to_write:
            self._has_failed_to_write = True
            warnings.warn(
                f"{self.save_dir} cannot be written ({error}); training goes on, and the history is written "
                "when it can be",
                UserWarning,
                stacklevel=4,
            )

    def _folder_of(self, step: int) -> Path:
        return (self.save_dir or Path()) / folder_name(step)

    def _set_aside(self) -> None:
        """Moves what an earlier run left to a folder of its own."""
        if self.save_dir is None:
            self.history = History()
            return
        left = [*self.save_dir.glob("step-*"), *self.save_dir.glob(NAME)]
        if left:
            number = 1
            while (aside := self.save_dir / f"earlier-{number}").exists():
                number += 1
            aside.mkdir()
            for path in left:
                path.rename(aside / path.name)
            warnings.warn(
                f"{self.save_dir} held the measurements of an earlier run; they are in {aside} now",
                UserWarning,
                stacklevel=3,
            )
        self.history = History(self.save_dir / NAME)

    def _recall(self) -> None:
        """Takes up each sentence's scores of before, for the comparison with the best so far."""
        if self._on_regression == "ignore":
            return
        for step in self.history.steps:
            report = self.history.report(step)
            if report is None:  # what is compared begins here
                self._series = {}
            else:
                self._add_to_series(report)

    def _add_to_series(self, report: AlignmentReport) -> None:
        for metric in report.measured:
            for language in report.languages:
                scores = report.per_pair(metric, language)
                self._series.setdefault((metric, language), []).append(scores)

    def _watch(self, report: AlignmentReport) -> None:
        """Tells of languages that fell, once until they are no longer below their best."""
        if self._on_regression == "ignore":
            return
        self._add_to_series(report)
        found = find_regressions({key: np.array(values) for key, values in self._series.items()})
        new = [(*key, fall) for key, fall in found.items() if key not in self._fallen]
        self._fallen = set(found)
        self.regressions += [(report.step or 0, *one) for one in new]
        if callable(self._on_regression):
            for one in new:
                self._on_regression(*one)
        elif new:
            warnings.warn(_in_words(new, report.step), UserWarning, stacklevel=3)


def _in_words(fallen: Sequence[tuple[str, str, Regression]], step: int | None) -> str:
    """The fall that is the surest in words, and what else fell."""
    (metric, language, fall), *others = sorted(fallen, key=lambda one: one[2].p)
    over = "" if fall.window == 1 else f" (means of {fall.window} measurements)"
    also = ", ".join(f"{m} of {code} ({f.best:.3f} to {f.now:.3f})" for m, code, f in others[:MOST_NAMED])
    if len(others) > MOST_NAMED:
        also += f" and {len(others) - MOST_NAMED} more"
    return (
        f"{metric} of {language} fell from {fall.best:.3f}, its best so far, to {fall.now:.3f} at step "
        f"{step}{over}; p = {fall.p:.2g} for any such alarm in the run" + (f"; so did {also}" if also else "")
    )


def checked_name(name: str) -> str:
    """A name that can stand in keys and paths, or an error.

    Raises:
        ArgumentError: Anything but letters, digits, - and _.
    """
    if not isinstance(name, str) or (name and not name.replace("-", "").replace("_", "").isalnum()):
        raise ArgumentError(f"name={name!r:.60} must be made of letters, digits, - and _, as a part of keys")
    return name
