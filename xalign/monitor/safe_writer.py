"""`SafeWriter`: writes a run's history and reports, or keeps them until they can be written."""

from contextlib import suppress
from pathlib import Path

from xalign.monitor.history_writer import HistoryWriter
from xalign.monitor.keeps_running import KeepsRunning, say
from xalign.results.history import NAME
from xalign.results.report import AlignmentReport


class SafeWriter:
    """Writes through a `HistoryWriter`, and never ends the run.

    What cannot be written stays in memory, and is written at a later measurement. A report that cannot
    continue the history, because a function that it was measured with has changed, is set apart: it is saved
    like the others, and the history goes on without it.

    Args:
        writer: What writes.
        keeps_running: What turns errors into warnings.
    """

    def __init__(self, writer: HistoryWriter, keeps_running: KeepsRunning) -> None:
        self._writer, self._keeps_running = writer, keeps_running
        self._problem = f"{writer.save_dir} cannot be written now, and is completed when it can be"
        self._must_set_aside = False
        self._not_in_history: list[AlignmentReport] = []
        self._not_saved: list[AlignmentReport] = []
        self._apart: dict[int, AlignmentReport] = {}

    def begin(self, last: int, *, is_new: bool) -> None:
        """Begin a run with no report of its own.

        Args:
            last: Drop what the history has after this step, at the first writing at the latest.
            is_new: Set what an earlier run left aside, before anything is written.
        """
        self._must_set_aside = is_new
        self._not_in_history, self._not_saved, self._apart = [], [], {}
        self._last = last

    def take_up(self) -> None:
        """Bring what is in the folder to where the run stands.

        Raises:
            OSError: The folder cannot be changed.
            ReportError: Its history cannot be read any more.
        """
        if self._must_set_aside:
            self._writer.set_aside()
            self._must_set_aside = False
        else:
            self._writer.history.keep_until(self._last)

    def move(self, folder: Path) -> None:
        """Go on in another folder, to which everything was moved."""
        self._writer.save_dir = folder
        self._writer.history.path = folder / NAME

    def keep(self, report: AlignmentReport) -> None:
        """Write a report, and those that could not be written before."""
        step = report.step or 0
        self._last = step - 1
        self._apart.pop(step, None)  # it is measured again
        self._not_in_history.append(report)
        self._not_saved.append(report)
        self.complete(step)

    def complete(self, step: int) -> None:
        """Write at this step of the run what could not be written before."""
        if self._not_in_history:
            with self._keeps_running("history", step, self._problem):
                self.take_up()
                self._append()
        if self._not_saved:
            with self._keeps_running("reports", step, self._problem):
                self._save()

    def end(self, step: int) -> None:
        """Write what could not be written before, and report which reports are missing from the history."""
        self.complete(step)
        steps = sorted({*self._apart, *(report.step or 0 for report in self._not_in_history)})
        if steps:
            with suppress(Exception):  # there may be no stderr
                named = f"{', '.join(map(str, steps[:10]))}{' …' if len(steps) > 10 else ''}"
                say(f"reports that are not in {self._history}: {len(steps)}, of step {named}. {self._where}")

    @property
    def _history(self) -> str:
        return str(self._writer.history.path or "the history")

    @property
    def _where(self) -> str:
        """Where reports are that are not in the history, and how to make a history of them."""
        kept = self._writer.reports_in
        beside = "" if kept is None else f", and in {kept}/step-* as far as they could be saved"
        return (
            f"They are in memory, as `reports` of the callback or monitor{beside}. To keep their numbers, "
            "append each to a history of its own: History('other.jsonl').append(report)"
        )

    def _set_apart(self) -> None:
        """Set apart the reports that make no curve with those before them."""
        problem = (
            f"{self._history} goes on without this report, and without later ones like it, because it was "
            f"measured in another way than those before. {self._where}"
        )
        for report in list(self._not_in_history):
            step, continues = report.step or 0, False
            with self._keeps_running("history", step, problem):
                self._writer.history.check_report(report)
                continues = True
            if not continues:
                self._not_in_history.remove(report)
                self._apart[step] = report

    def _append(self) -> None:
        """Append the newest report, then insert the earlier ones that are not in the history yet."""
        self._set_apart()
        if not self._not_in_history:
            return
        *earlier, newest = self._not_in_history
        self._writer.append(newest)
        for report in earlier:
            if report.step not in self._writer.history.steps:
                self._writer.history.insert(report)
        self._keeps_running.mended("history", [report.step for report in self._not_in_history])
        self._not_in_history = []

    def _save(self) -> None:
        """Save every report that can be saved; raise the first error that kept one from it."""
        waiting, errors = self._not_saved, []
        self._not_saved = []
        for report in waiting:
            try:
                self._writer.save(report)
                self._keeps_running.mended("reports", [report.step])
            except Exception as error:
                errors.append(error)
                self._not_saved.append(report)
        if errors:
            raise errors[0]
