"""`RegressionWatch`: warn once about each language that scores significantly worse than before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from xalign.errors import ArgumentTypeError
from xalign.metrics.metric import Scale
from xalign.results.history import History
from xalign.results.history_entry import Row, settings_of
from xalign.results.report import AlignmentReport
from xalign.results.resampling import resampled
from xalign.statistics.regressions import Regression, find_regressions
from xalign.warn import warn

MOST_NAMED = 5  # further regressions in one warning
OnRegression = Literal["warn", "ignore"] | Callable[[str, str, Regression], object]


@dataclass(frozen=True)
class _Named:
    """A regression, and where it was found."""

    metric: str
    language: str
    regression: Regression
    scale: Scale


class RegressionWatch:
    """Compares each measurement of a run with the best one before it, and reports new regressions.

    A language is reported once, until it is no longer significantly worse than at its best. For a metric
    where lower is better, a larger value is worse. Measurements from before a function changed are not
    compared.

    Args:
        on_regression: What to do with a new one: `"warn"`, `"ignore"`, or a function (metric, language,
            regression).

    Attributes:
        found: Every regression reported: step, metric, language, regression.

    Raises:
        ArgumentTypeError: `on_regression` is not one of these.
    """

    def __init__(self, on_regression: OnRegression = "warn") -> None:
        if on_regression not in ("warn", "ignore") and not callable(on_regression):
            raise ArgumentTypeError(
                f"on_regression={on_regression!r:.60} must be 'warn', 'ignore', or a function (metric, "
                "language, regression)"
            )
        self._on_regression = on_regression
        self.found: list[tuple[int, str, str, Regression]] = []
        self._series: dict[tuple[str, str], list[np.ndarray]] = {}  # per metric and language
        self._reported: set[tuple[str, str]] = set()
        self._settings: Row | None = None  # of the latest report of this process

    def begin(self, history: History | None = None) -> None:
        """Start a run, or continue the one in a history, from the reports kept beside it.

        Measurements before a report that was not kept are not compared.
        """
        self._series, self._reported, self._settings = {}, set(), None
        if history is None or self._on_regression == "ignore":
            return
        for step in history.steps:
            report = history.report(step)
            if report is None:
                self._series = {}
            else:
                self._add(report)

    def look(self, report: AlignmentReport) -> None:
        """Add a measurement, and report the languages that regressed with it."""
        if self._on_regression == "ignore":
            return
        settings = settings_of(report.provenance)
        if self._settings not in (None, settings):  # a function has changed, and the numbers mean others
            self._series, self._reported = {}, set()
        self._settings = settings
        self._add(report)
        regressed = find_regressions(
            {key: np.array(values) for key, values in self._series.items()},
            documents={key: resampled(report, key[1]) for key in self._series},
        )
        new = [_name(report, *key, one) for key, one in regressed.items() if key not in self._reported]
        self._reported = set(regressed)
        self.found += [(report.step or 0, one.metric, one.language, one.regression) for one in new]
        if callable(self._on_regression):
            for one in new:
                self._on_regression(one.metric, one.language, one.regression)
        elif new:
            warn(_in_words(new, report.step))

    def _add(self, report: AlignmentReport) -> None:
        """Keep every sentence's score, negated where less is better: regressions are then always falls."""
        for metric in report.measured:
            sign = _sign(report.scale(metric))
            for language in report.languages:
                scores = sign * report.per_pair(metric, language)
                self._series.setdefault((metric, language), []).append(scores)


def _name(report: AlignmentReport, metric: str, language: str, regression: Regression) -> _Named:
    scale = report.scale(metric)
    sign = _sign(scale)
    best, now = sign * regression.best + 0.0, sign * regression.now + 0.0  # + 0.0: no negative zero
    return _Named(metric, language, replace(regression, best=best, now=now), scale)


def _sign(scale: Scale) -> float:
    return 1.0 if scale.higher_is_better else -1.0


def _in_words(new: Sequence[_Named], step: int | None) -> str:
    """Say which regression is the most certain, and what else regressed."""
    first, *others = sorted(new, key=lambda one: one.regression.p)
    regression = first.regression
    over = "" if regression.window == 1 else f" (means of {regression.window} measurements)"
    also = ", ".join(
        f"{one.metric} of {one.language} ({one.regression.best:.3f} to {one.regression.now:.3f})"
        for one in others[:MOST_NAMED]
    )
    if len(others) > MOST_NAMED:
        also += f" and {len(others) - MOST_NAMED} more"
    verb = "fell" if first.scale.higher_is_better else "rose"
    return (
        f"{first.metric} of {first.language} {verb} from {regression.best:.3f}, its best so far, to "
        f"{regression.now:.3f} at step {step}{over}; p = {regression.p:.2g} for any such alarm in the run"
        + (f"; also worse than at their best: {also}" if also else "")
    )
