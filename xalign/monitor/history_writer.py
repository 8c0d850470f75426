"""`HistoryWriter`: a run's history and its reports on disk."""

import warnings
from pathlib import Path

from xalign.errors import ReportError
from xalign.results.history import NAME, History, folder_name
from xalign.results.report import AlignmentReport


class HistoryWriter:
    """Keeps the history of a run, and each report beside it.

    Args:
        save_dir: The folder of `history.jsonl` and the reports; in memory only where None.
        save_reports: Whether to keep reports, with their sentences, or only the history.

    Attributes:
        save_dir: As given.
        history: The run so far.

    Raises:
        ReportError: The folder holds a history that cannot be read.
    """

    def __init__(self, save_dir: Path | None, *, save_reports: bool) -> None:
        self.save_dir = save_dir
        self.history = self._open()
        self._save_reports = save_reports
        self._warned = False

    def write(self, report: AlignmentReport) -> None:
        """Write a report. A full disk does not end a training run: it is warned about once."""
        step = report.step or 0
        # The same step may be measured again, after its weights were changed.
        self.history.keep_until(step - 1)
        try:
            self.history.append(report)
        except OSError as error:
            self._warn(error)
        if self.save_dir is None or not self._save_reports:
            return
        try:
            report.save(self.save_dir / folder_name(step), overwrite=True)
        except (OSError, ReportError) as error:
            self._warn(error)

    def set_aside(self) -> None:
        """Move what an earlier run left to a folder of its own, and begin a new history."""
        left = [] if self.save_dir is None else [*self.save_dir.glob("step-*"), *self.save_dir.glob(NAME)]
        if self.save_dir is not None and left:
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
        self.history = self._open()

    def _open(self) -> History:
        return History(None if self.save_dir is None else self.save_dir / NAME)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.save_dir} cannot be written ({error}); training goes on, and the history is written "
                "when it can be",
                UserWarning,
                stacklevel=4,
            )
