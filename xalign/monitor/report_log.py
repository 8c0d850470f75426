"""What trackers get in addition to the scalars from the trainer: pictures and tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.trainer_callback import TrainerCallback

from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.monitor.keeps_running import say
from xalign.monitor.scalars import MOST_LANGUAGES
from xalign.plain_config import Config
from xalign.results.report import AlignmentReport
from xalign.trackers import TRACKERS
from xalign.trackers.tracker import Pixels, Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = tuple[list[str], list[list[Any]]]


class Trackers:
    """The trackers of a run: those among a trainer's callbacks, and the user's own.

    Nothing is logged to a tracker without a run. Only the first of several processes may log: the trackers of
    the others have no run.

    Args:
        callbacks: The trainer's callbacks.
        own: Trackers of the user's own. One with the name of a tracker that xalign knows replaces it.

    Raises:
        ArgumentTypeError: `own` is not a sequence of `Tracker` objects.
        ArgumentError: Two of them have one name.
    """

    def __init__(self, callbacks: Sequence[TrainerCallback], own: Sequence[Tracker[Any]] = ()) -> None:
        if not isinstance(own, Sequence) or not all(isinstance(tracker, Tracker) for tracker in own):
            raise ArgumentTypeError(
                f"trackers={own!r:.60} must be a list of Tracker objects (xalign.trackers.tracker.Tracker)"
            )
        if len({tracker.name for tracker in own}) < len(own):
            raise ArgumentError(f"trackers: two have one name, of {', '.join(one.name for one in own)}")
        self._trackers = TRACKERS | {tracker.name: tracker for tracker in own}
        self._callbacks = {type(callback).__name__: callback for callback in callbacks}
        self._warned = False
        self._failed: set[str] = set()
        self._described: set[str] = set()

    def prepare(self, report_to: str | Sequence[str] | None) -> list[str]:
        """Let each tracker prepare for a run; return the sentences to print."""
        names = [report_to] if isinstance(report_to, str) else list(report_to or ())
        said = [tracker.prepare(names) for tracker in self._trackers.values()]
        return [sentence for sentence in said if sentence]

    def begin(self) -> None:
        """Begin a run, whose settings no tracker has yet."""
        self._described.clear()

    def describe(self, settings: Callable[[], Config]) -> None:
        """Give each tracker that has a run the run's settings, once.

        Args:
            settings: A function that returns the settings. It is called only if a tracker does not have them
                yet, because `describe` is called at every row of the log.
        """
        waiting = [(tracker, run) for tracker, run in self._live() if tracker.name not in self._described]
        config = settings() if waiting else {}
        for tracker, run in waiting:
            self._described.add(tracker.name)
            with self._observing(tracker):
                tracker.log_config(run, config)

    def heatmap(self, key: str, report: AlignmentReport, metric: str, step: int) -> None:
        """Log a layer × language picture of one metric, if there is a tracker and matplotlib."""
        live = list(self._live())
        if not live:
            return
        try:
            pixels = _pixels(report.figure(metric))
        except MissingExtraError as error:
            if not self._warned:
                self._warned = True
                say(f"no heatmaps in the trackers: {error}")
            return
        for tracker, run in live:
            with self._observing(tracker):
                tracker.log_image(run, key, pixels, step)

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table, if there is a tracker."""
        for tracker, run in self._live():
            with self._observing(tracker):
                tracker.log_table(run, key, columns, rows, step)

    def _live(self) -> Iterator[tuple[Tracker[Any], Any]]:
        """Yield the trackers in use that have a run, each with it."""
        for tracker in self._trackers.values():
            callback = None if tracker.callback is None else self._callbacks.get(tracker.callback)
            if tracker.callback is not None and callback is None:
                continue
            run = None
            with self._observing(tracker):
                run = tracker.run(callback)
            if run is not None:
                yield tracker, run

    @contextmanager
    def _observing(self, tracker: Tracker[Any]) -> Iterator[None]:
        """Turn an error of a tracker into one warning: what is logged must not end the run."""
        try:
            yield
        except Exception as error:
            if tracker.name not in self._failed:
                self._failed.add(tracker.name)
                say(f"tracker {tracker.name!r} failed ({type(error).__name__}: {error}); training goes on")


class ReportLog:
    """Decides which pictures and tables of a run's reports go to the trackers, and when.

    With more than 30 languages, a table of the scores goes with the pictures.

    Args:
        trackers: The trackers.
        key: What keys begin with, like `"alignment"`.
        heatmap_every: Log pictures every this many measurements; None logs them at the last one only.
        log_text: Log the worst pairs with their sentences, at the end.
    """

    def __init__(
        self,
        trackers: Trackers,
        key: str,
        *,
        heatmap_every: int | None,
        log_text: bool,
    ) -> None:
        self._trackers, self._key = trackers, key
        self._heatmap_every, self._log_text = heatmap_every, log_text
        self._drawn: AlignmentReport | None = None

    def begin(self) -> None:
        """Begin a run."""
        self._trackers.begin()

    def describe(self, settings: Callable[[], Config]) -> None:
        """Log the run's settings, to every tracker once."""
        self._trackers.describe(settings)

    def measured(self, report: AlignmentReport, number: int, step: int) -> None:
        """Log the pictures of a run's measurement number `number`, from 0, where they are due."""
        if self._heatmap_every and number % self._heatmap_every == 0:
            self._draw(report, step)

    def ended(self, report: AlignmentReport, step: int) -> None:
        """Log the pictures and the tables of a run's last report."""
        self._draw(report, step)
        self._trackers.table(f"{self._key}/last", *scores_table(report), step)
        if self._log_text:
            self._trackers.table(f"{self._key}/worst_pairs", *worst_pairs_table(report), step)

    def _draw(self, report: AlignmentReport, step: int) -> None:
        if report is self._drawn:
            return
        self._drawn = report
        for metric in report.measured:
            self._trackers.heatmap(f"{self._key}/heatmap_{metric}", report, metric, step)
        if len(report.languages) > MOST_LANGUAGES:
            self._trackers.table(f"{self._key}/scores", *scores_table(report), step)


def scores_table(report: AlignmentReport) -> Table:
    """Return a table of every metric's score in every language.

    Each row also has the interval, the floor and the chance level, which are None for a metric that has none,
    and the best layer.

    Args:
        report: The report.

    Returns:
        Column names, and rows.

    Example:
        >>> scores_table(report)[0][:3]
        ['metric', 'language', 'score']
    """
    columns = ["metric", "language", "score", "low", "high", "floor", "chance", "best layer"]
    rows = [
        [
            *(
                metric,
                language,
                report.score(metric, language),
                *report.interval(metric, language),
            ),
            *(report.floor(metric, language), report.chance(metric, language)),
            str(report.best_layer(metric, language)),
        ]
        for metric in report.measured
        for language in report.languages
    ]
    return columns, rows


def worst_pairs_table(report: AlignmentReport, most: int = 10) -> Table:
    """Return a table of the worst pairs per metric and language, with their text.

    Args:
        report: The report.
        most: How many pairs to list per metric and language.

    Returns:
        Column names, and rows.

    Example:
        >>> worst_pairs_table(report)[0]
        ['metric', 'language', 'id', 'score', 'pivot sentence', 'sentence']
    """
    rows: list[list[Any]] = [
        [metric, language, *pair]
        for metric in report.measured
        for language in report.languages
        for pair in report.worst_pairs(metric, language, most)
    ]
    return ["metric", "language", "id", "score", "pivot sentence", "sentence"], rows


def _pixels(figure: "Figure") -> Pixels:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
