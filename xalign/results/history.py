"""`History`: the measurements of a run, in one file that can be appended to and resumed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.files import sweep, version_of
from xalign.metrics.scale import Scale
from xalign.renamed import renamed
from xalign.results.continues import check_continues
from xalign.results.history_entry import Row, entry_of, rows_of, scale_in
from xalign.results.history_file import Stored, append_lines, line_of, load, read
from xalign.results.locks import locked
from xalign.results.run_folder import run_folder
from xalign.storage import write_whole
from xalign.warn import warn

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

__all__ = ["NAME", "History", "entry_of", "find_history", "folder_name", "scale_in"]

NAME = "history.jsonl"


class History:
    """The measurements of a run: an entry per step, each of them one line of JSON.

    Several processes may write to one file: each change takes a lock and is made to the current content of
    the file. A reader needs no lock and always sees whole lines. An interruption leaves whole lines and at
    most one broken last line, which is dropped when the file is opened. Each line has a checksum, so that a
    damaged line raises an error that names it. A line holds the step, the model, the fingerprint of the
    pairs, the settings, the cost, and per metric and language the values of all layers with their intervals.

    Args:
        path: The file to append to. If None, the history is kept in memory only.

    Attributes:
        path: The file, or None.
        entries: The entries, from the first step to the last.

    Raises:
        ReportError: The file is not a history, or it has another schema.

    Example:
        >>> history = History()
        >>> for step in (0, 100):
        ...     history.append(measure(model, tokenizer, pairs, ["nasca"], step=step))
        >>> history.steps
        [0, 100]
        >>> sorted(history.to_rows()[0])[:4]
        ['chance', 'documents', 'floor', 'high']
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.entries: list[Row] = []
        self._stored = Stored([], 0)  # what the file held when it was last read or written
        self._is_swept = False  # of what killed processes left half-written beside the file
        self._seen: tuple[int, int, int] | None = None  # how to tell whether it was written to since
        if self.path is not None and self.path.exists():
            self._seen = version_of(self.path)  # before it is read: what comes after is read at a change
            self._stored = load(self.path)
            self.entries = list(self._stored.entries)
            if self._stored.is_torn:
                warn(f"{self.path}: its last line is broken, as an interruption leaves it, and is dropped")

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Load a history file, given by its own path or by the folder of a run.

        Raises:
            ReportError: There is no history, or it cannot be read.
        """
        if not isinstance(path, str | Path):
            raise ArgumentTypeError(f"path={path!r:.60} must be a path of a history, or of a run's folder")
        found = find_history(path)
        if found is None:
            raise ReportError(
                f"{str(path)!r} holds no {NAME}; give the file, or the folder of a run that was measured"
            )
        return cls(found)

    @property
    def steps(self) -> list[int]:
        """The steps that were measured."""
        return [entry["step"] for entry in self.entries]

    @property
    def languages(self) -> list[str]:
        """The languages without the pivot."""
        return list(next(iter(self.entries[-1]["metrics"].values()))["languages"]) if self.entries else []

    @property
    def metrics(self) -> list[str]:
        """The rows of the reports: the metrics, with retrieval in both directions."""
        return list(self.entries[-1]["metrics"]) if self.entries else []

    def to_rows(self) -> list[Row]:
        """Return the rows of all entries, with the keys of `AlignmentReport.to_rows`."""
        return [row for entry in self.entries for row in rows_of(entry)]

    def check(
        self,
        provenance: Mapping[str, Any],
        readings: Mapping[str, Sequence[str] | None],
        scales: Mapping[str, Scale] | None = None,
    ) -> None:
        """Raise an error if a measurement cannot continue this history.

        Its sentences, metrics and places, and the settings that must agree, must be those of the last entry.

        Args:
            provenance: The provenance of a report. Settings that it does not hold are not compared.
            readings: Row -> the places it is read at, from the first layer to the last, or None where they
                are not known yet.
            scales: Row -> what its numbers mean, or None where that is not known yet.

        Raises:
            ReportError: Different sentences, settings, metrics or places, or a metric of the same name that
                means something else.
        """
        if self.entries:
            name = str(self.path or "the history")
            check_continues(self.entries[-1], provenance, readings, scales or {}, history=name)

    def check_report(self, report: "AlignmentReport") -> None:
        """Raise an error if a report cannot continue this history, as `check` does.

        Raises:
            ReportError: As `check`.
        """
        self.check(
            report.provenance,
            {row: result.readings for row, result in report.metrics.items()},
            {row: result.scale for row, result in report.metrics.items()},
        )

    def report(self, step: int) -> "AlignmentReport | None":
        """Return the whole report of a step, or None if it was not kept beside the file."""
        from xalign.results.report import AlignmentReport

        if self.path is None:
            return None
        try:
            return AlignmentReport.load(self.path.parent / folder_name(step))
        except ReportError:  # not kept, or not whole
            return None

    @property
    def unwritten(self) -> list[int]:
        """The steps that are not in the file yet, because it could not be written."""
        stored = set(map(id, self._stored.entries))
        return [] if self.path is None else [one["step"] for one in self.entries if id(one) not in stored]

    def refresh(self) -> None:
        """Read what other processes have written since, and retry what could not be written before.

        Raises:
            ReportError: The file is damaged, or locked by another process.
            OSError: The file cannot be written.
        """
        with self._changing():
            pass

    def append(self, report: "AlignmentReport", *, replace: bool = False) -> None:
        """Append the numbers of a report to the history and to its file.

        Args:
            report: The report, with a step after the last one.
            replace: Drop the entries of this step and of later ones first, for a run that measures them
                again.

        Raises:
            ArgumentError: The report has no step, or its step is not after the last one.
            ReportError: The report has other sentences, settings or readings than those before it. Or the
                file is damaged, or locked by another process; then the entry is kept as below.
            OSError: The file cannot be written. The entry is kept, and written together with the next one.
        """
        entry = entry_of(report)
        line_of(entry)  # refuses what no line can hold
        with self._changing():
            before = [one for one in self.entries if one["step"] < entry["step"]]
            if len(before) < len(self.entries) and not replace:
                raise ArgumentError(
                    f"step={entry['step']} is not after the last step measured, {self.steps[-1]}; a history "
                    "holds each step once, in order"
                )
            self.entries = before
            self.check_report(report)
            self.entries = [*before, entry]

    def insert(self, report: "AlignmentReport") -> None:
        """Insert the numbers of a report at any new step; the file is rewritten if later steps follow.

        Args:
            report: The report, with a step that the history does not hold.

        Raises:
            ArgumentError: The report has no step, or the history holds its step already.
            ReportError: The report has other sentences, settings or readings than those before it. Or the
                file is damaged, or locked by another process; then the entry is kept as below.
            OSError: The file cannot be written. The entry is kept, and written together with the next one.
        """
        entry = entry_of(report)
        line_of(entry)  # refuses what no line can hold
        with self._changing():
            if entry["step"] in self.steps:
                raise ArgumentError(f"step={entry['step']} is in the history already")
            self.check_report(report)
            self.entries = sorted([*self.entries, entry], key=lambda one: int(one["step"]))

    def keep_until(self, step: int) -> None:
        """Drop the entries after a step, for a run that resumes there and measures them again.

        Raises:
            ReportError: The file is damaged, or locked by another process.
            OSError: The file cannot be written.
        """
        with self._changing():
            self.entries = [entry for entry in self.entries if entry["step"] <= step]

    def to_html(self, path: str | Path) -> Path:
        """Write the run as one page that opens from disk; see `xalign.views.page.write_page`."""
        from xalign.views.page import write_page

        return write_page(self, path)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.entries)

    def __repr__(self) -> str:
        """Return the path and the steps in one line."""
        span = f", steps {self.steps[0]} to {self.steps[-1]}" if self.entries else ""
        where = "" if self.path is None else f"{str(self.path)!r}, "
        return f"History({where}{len(self)} entries{span})"

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock, bring the entries up to date for the block, and write what it made of them.

        Where that cannot be done, the block runs on the entries known, and the error is raised after it.
        """
        with ExitStack() as stack:
            failure: OSError | ReportError | None = None
            try:
                if self.path is not None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(locked(self.path))
                    if not self._is_swept:
                        sweep(self.path.parent)
                        self._is_swept = True
                    self._read(self.path)
            except (OSError, ReportError) as error:
                failure = error
            yield
            if failure is not None:
                raise failure
            if self.path is not None:
                self._write(self.path)

    def _read(self, path: Path) -> None:
        """Take up what the file holds now. What it lost is lost, but a file that was removed is made anew."""
        if not path.exists():
            self._stored, self._seen = Stored([], 0), None
        elif self._seen != version_of(path):
            unwritten = set(self.unwritten)
            ours = [entry for entry in self.entries if entry["step"] in unwritten]
            self._stored = read(path)
            self._seen = version_of(path)
            by_step = {entry["step"]: entry for entry in (*self._stored.entries, *ours)}
            self.entries = [by_step[step] for step in sorted(by_step)]

    def _write(self, path: Path) -> None:
        """Append what is new where it is the end, or else write the file anew beside its place."""
        n = len(self._stored.entries)
        is_start = len(self.entries) >= n and all(
            one is other for one, other in zip(self.entries, self._stored.entries, strict=False)
        )
        if is_start and len(self.entries) == n and self._stored.is_ended:
            return
        if is_start and self._stored.is_ended and self._seen is not None:
            data = b"".join(map(line_of, self.entries[n:]))
            append_lines(path, data, self._stored.size)
            size = self._stored.size + len(data)
        else:
            data = b"".join(map(line_of, self.entries))
            write_whole(Path(os.path.realpath(path)), data)  # a link stays a link
            size = len(data)
        self._stored, self._seen = Stored(list(self.entries), size), version_of(path)


def folder_name(step: int) -> str:
    """Return the name of the folder of a step's report beside the history.

    Example:
        >>> folder_name(200)
        'step-00000200'
    """
    return f"step-{step:08d}"


def find_history(path: str | Path) -> Path | None:
    """Return the history file at a path: the file itself, the folder of a run, or that of its reports."""
    path = Path(path)
    for candidate in (path, path / NAME, run_folder(path) / NAME):
        if candidate.is_file():
            return candidate
    return None


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
