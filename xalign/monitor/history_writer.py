"""`HistoryWriter`: a run's history and its reports on disk."""

import warnings
from pathlib import Path

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

    def append(self, report: AlignmentReport) -> None:
        """Append a report to the history. The same step may be measured again, with other weights.

        Raises:
            OSError: The history cannot be written.
            ReportError: It was changed meanwhile, so that it cannot be read or continued.
        """
        if self.save_dir is not None:
            self.save_dir.mkdir(parents=True, exist_ok=True)  # it may have been deleted
        self.history.keep_until((report.step or 0) - 1)
        self.history.append(report)

    def save(self, report: AlignmentReport) -> None:
        """Keep a whole report beside the history.

        Raises:
            OSError: It cannot be written.
            ReportError: Its folder cannot be made.
        """
        if self.save_dir is not None and self._save_reports:
            report.save(self.save_dir / folder_name(report.step or 0), overwrite=True)

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
