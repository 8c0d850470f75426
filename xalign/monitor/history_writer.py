"""`HistoryWriter`: a run's history and its reports on disk."""

import os
from pathlib import Path

from filelock import BaseFileLock, Timeout

from xalign.errors import ReportError
from xalign.files import free_path
from xalign.results.history import NAME, History, folder_name
from xalign.results.locks import acquire_for_process, locked
from xalign.results.report import AlignmentReport
from xalign.warn import warn

# A killed run's data loaders may live on for some seconds, and hold its lock with older versions of filelock.
_WAIT = 10.0


class HistoryWriter:
    """Keeps the history of a run, and each report beside it.

    One run at a time writes to a folder: the folder's lock is held as long as a writer of this process lives,
    and the operating system frees it with the process. `xalign track` needs no such lock, because it only
    adds steps.

    Args:
        save_dir: The folder of `history.jsonl` and the reports; in memory only if None.
        save_reports: Whether to keep reports, with their sentences, or only the history.

    Attributes:
        save_dir: As given.
        history: The run so far.

    Raises:
        ReportError: Another process writes the measurements of its run to the folder, or the folder holds a
            history that cannot be read.
    """

    def __init__(self, save_dir: Path | None, *, save_reports: bool) -> None:
        self.save_dir = save_dir
        self._lock = None if save_dir is None else _lock_of_run(save_dir)
        self.history = History(None if save_dir is None else save_dir / NAME)
        self._save_reports = save_reports

    @property
    def reports_in(self) -> Path | None:
        """The folder in which reports are kept; None where they are not."""
        return self.save_dir if self._save_reports else None

    def append(self, report: AlignmentReport) -> None:
        """Append a report to the history. The same step may be measured again with other weights.

        Raises:
            OSError: The history cannot be written.
            ReportError: It was changed meanwhile, so that it cannot be read or continued; or it is locked.
        """
        self.history.append(report, replace=True)

    def save(self, report: AlignmentReport) -> None:
        """Keep a whole report beside the history.

        Raises:
            OSError: It cannot be written.
            ReportError: Its folder cannot be made.
        """
        if self.reports_in is not None:
            report.save(self.reports_in / folder_name(report.step or 0), overwrite=True)

    def set_aside(self) -> None:
        """Move what an earlier run left to a folder of its own, and begin a new history.

        Raises:
            OSError: It cannot be moved.
            ReportError: The history is locked.
        """
        if self.save_dir is None:
            self.history = History()
            return
        self.save_dir.mkdir(parents=True, exist_ok=True)
        with locked(self.save_dir / NAME):
            aside = _moved(self.save_dir)
        if aside is not None:
            warn(f"{self.save_dir} held the measurements of an earlier run; they are in {aside} now")
        self.history = History(self.save_dir / NAME)


def _moved(folder: Path) -> Path | None:
    """Move the history and the reports in a folder to a new one in it; return that, or None for none."""
    # Not by `glob`: it passes over what it may not look at, and the new history would be written over it.
    left = [path for path in folder.iterdir() if path.name == NAME or path.name.startswith("step-")]
    if not left:
        return None
    aside = free_path(folder, "earlier")
    aside.mkdir()
    for path in left:
        if path.is_symlink():  # a relative one would lead elsewhere from there
            (aside / path.name).symlink_to(os.path.realpath(path))
            path.unlink()
        else:
            path.rename(aside / path.name)
    # Others that know the earlier entries, as `xalign track` may, see that a new history has begun.
    (folder / NAME).touch()
    return aside


def _lock_of_run(folder: Path) -> BaseFileLock:
    place = folder / ".run.lock"
    try:
        return acquire_for_process(place, _WAIT)
    except Timeout:
        raise ReportError(
            f"{folder} belongs to a run of another process that is still alive: end it, or give this run "
            "another folder (output_dir of the trainer, save_dir of a monitor) or its callback a name of its "
            f"own (name=...). If there is no such process, delete {place}"
        ) from None
    except OSError as error:
        raise ReportError(f"{place} cannot be locked: {error.strerror}; name another folder") from None
