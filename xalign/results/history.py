"""`History`: what was measured along a run, in one file that can be appended to and resumed."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from xalign.errors import ArgumentError, ReportError
from xalign.files import read_regular
from xalign.identity import advice, agree
from xalign.metrics.scale import Scale
from xalign.pairs.parallel import count_range
from xalign.renamed import renamed
from xalign.results.history_entry import (
    Row,
    check_entry,
    check_follows,
    entry_of,
    rows_of,
    scale_in,
    settings_of,
)
from xalign.results.run_folder import run_folder
from xalign.schema import read_json
from xalign.storage import write_whole

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

__all__ = ["NAME", "History", "entry_of", "find_history", "folder_name", "scale_in"]

NAME = "history.jsonl"
_ADVICE = "measure the same, or into another folder"


class History:
    """The measurements of a run: an entry per step, each of them one line of JSON.

    The file is only appended to. An interruption therefore leaves whole lines and at most one broken last
    line, which is dropped when the file is opened. A line holds the step, the model, the fingerprint of the
    pairs, the settings, the cost, and per metric and language the values of all layers with their intervals.

    Args:
        path: The file to append to. Where None, the history is kept in memory only.

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
        ['chance', 'floor', 'high', 'language']
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.entries: list[Row] = []
        self._written = 0  # size of the whole lines in the file, in bytes
        self._seen = 0  # size of the file when it was last read or written
        self._unwritten: list[bytes] = []
        self._must_rewrite = False  # the file holds what was dropped or changed here
        if self.path is not None and self.path.exists():
            self._read(self.path)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Load a history file, given by its own path or by the folder of a run.

        Raises:
            ReportError: There is no history, or it cannot be read.
        """
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

        Its sentences, metrics, places and the settings that must agree have to be those of the last entry.

        Args:
            provenance: The provenance of a report. Settings that it does not hold are not compared.
            readings: Row -> the places it is read at, from the first layer to the last, or None where they
                are not known yet.
            scales: Row -> what its numbers mean, or None where that is not known yet.

        Raises:
            ReportError: Different sentences, settings, metrics or places, or a metric of the same name that
                means something else.
        """
        if not self.entries:
            return
        last = self.entries[-1]
        for name in dict.fromkeys((*last["settings"], *settings_of(provenance))):
            was = last["settings"].get(name)
            if not agree(provenance.get(name, was), was):
                self._refuse_setting(name, was, provenance[name])
        were = {row: list(found["readings"]) for row, found in last["metrics"].items()}
        if were.keys() != readings.keys() or any(
            places is not None and were[row] != list(places) for row, places in readings.items()
        ):
            raise ReportError(
                f"the metrics or their places are not those of step {last['step']}: {', '.join(were)} there, "
                f"{', '.join(readings)} now; {_ADVICE}"
            )
        for row, scale in (scales or {}).items():
            if not scale.agrees_with(scale_in(last, row)):
                raise ReportError(
                    f"{row} meant {scale_in(last, row)} at step {last['step']} and means {scale} now: these "
                    f"are two metrics of one name; {_ADVICE}"
                )

    def report(self, step: int) -> "AlignmentReport | None":
        """Return the whole report of a step, or None where it was not kept beside the file."""
        from xalign.results.report import AlignmentReport

        if self.path is None:
            return None
        try:
            return AlignmentReport.load(self.path.parent / folder_name(step))
        except ReportError:  # not kept, or not whole
            return None

    def append(self, report: "AlignmentReport") -> None:
        """Append the numbers of a report, to the file too.

        Args:
            report: The report, with a step after the last one.

        Raises:
            ArgumentError: The report has no step, or its step is not after the last one.
            ReportError: The report has other sentences, settings or readings than those before it.
            OSError: The file cannot be written. The entry is kept, and written together with the next one.
        """
        entry = entry_of(report)
        self._read_new_entries()
        if self.entries and entry["step"] <= self.steps[-1]:
            raise ArgumentError(
                f"step={entry['step']} is not after the last step measured, {self.steps[-1]}; a history "
                "holds each step once, in order"
            )
        self._check_report(report)
        self.entries.append(entry)
        if self.path is not None:
            if self._must_rewrite:
                self._rewrite()
                return
            self._unwritten.append(_line(entry))
            self._write(self.path)

    def insert(self, report: "AlignmentReport") -> None:
        """Insert the numbers of a report of any new step; the file is rewritten where later steps follow.

        Args:
            report: The report, with a step that the history does not hold.

        Raises:
            ArgumentError: The report has no step, or the history holds its step already.
            ReportError: The report has other sentences, settings or readings than those before it.
            OSError: The file cannot be written.
        """
        self._read_new_entries()
        step = report.step
        later = [entry for entry in self.entries if step is not None and entry["step"] >= step]
        if not later:
            self.append(report)
            return
        if later[0]["step"] == step:
            raise ArgumentError(f"step={step} is in the history already")
        self._check_report(report)
        self.entries = sorted([*self.entries, entry_of(report)], key=lambda one: int(one["step"]))
        self._rewrite()

    def keep_until(self, step: int) -> None:
        """Drop the entries after a step, for a run that resumes there and measures them again."""
        self._read_new_entries()
        kept = [entry for entry in self.entries if entry["step"] <= step]
        if len(kept) == len(self.entries):
            return
        self.entries = kept
        self._rewrite()

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

    def _read_new_entries(self) -> None:
        """Read what another process has written since, as `xalign track` does beside a run."""
        if self.path is None or self._unwritten:
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == self._seen:
            return
        there = History(self.path) if size else History()
        by_step = {entry["step"]: entry for entry in (*there.entries, *self.entries)}
        self.entries = [by_step[step] for step in sorted(by_step)]
        self._written, self._seen = there._written, there._seen
        if len(self.entries) > len(there.entries):  # the file lost entries that this history still holds
            self._rewrite()

    def _rewrite(self) -> None:
        if self.path is not None:
            self._must_rewrite = True
            lines = [_line(entry) for entry in self.entries]
            write_whole(self.path, b"".join(lines))
            self._must_rewrite = False
            self._written, self._unwritten = sum(map(len, lines)), []
            self._seen = self._written

    def _refuse_setting(self, name: str, was: object, now: object) -> NoReturn:
        last = self.entries[-1]
        if name == "fingerprint":
            languages = next(iter(last["metrics"].values()))["languages"]
            each = count_range(numbers["n"] for numbers in languages.values())
            raise ReportError(
                f"{self.path or 'the history'} was measured on other sentences than these, on {each} "
                f"pairs each of {', '.join(languages)} with {last['pivot']}; {_ADVICE}"
            )
        raise ReportError(
            f"{name} was {was!r} at step {last['step']} and is {now!r} now: such scores make no curve; "
            f"{_ADVICE}{advice(was, now)}"
        )

    def _check_report(self, report: "AlignmentReport") -> None:
        self.check(
            report.provenance,
            {row: result.readings for row, result in report.metrics.items()},
            {row: result.scale for row, result in report.metrics.items()},
        )

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.truncate(self._written)  # drop what a broken write left
            file.seek(0, os.SEEK_END)
            while self._unwritten:
                file.write(self._unwritten[0])
                file.flush()
                os.fsync(file.fileno())
                self._written += len(self._unwritten.pop(0))
                self._seen = self._written

    def _read(self, path: Path) -> None:
        try:
            data = read_regular(path)
        except OSError as error:
            raise ReportError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
        self._seen = len(data)
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            is_last = self._written + len(line) == len(data)
            try:
                entry = read_json(line)
                check_entry(entry)
                if self.entries:
                    check_follows(entry, self.entries[-1])
            except ReportError as error:
                raise ReportError(f"{path}, line {number}: {error}") from None
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                if not is_last:
                    raise ReportError(
                        f"{path}, line {number} is no entry of a history; restore the file, or name another "
                        "folder"
                    ) from None
                entry = None
            if entry is None or not line.endswith(b"\n"):
                warnings.warn(
                    f"{path}: its last line is broken, as an interruption leaves it, and is dropped",
                    UserWarning,
                    stacklevel=4,
                )
                return
            self.entries.append(entry)
            self._written += len(line)


def folder_name(step: int) -> str:
    """Return the name of the folder of a step's report beside the history.

    Example:
        >>> folder_name(200)
        'step-00000200'
    """
    return f"step-{step:08d}"


def find_history(path: str | Path) -> Path | None:
    """Return the history file at a path, which is the file, the folder of a run, or that of its reports."""
    path = Path(path)
    for candidate in (path, path / NAME, run_folder(path) / NAME):
        if candidate.is_file():
            return candidate
    return None


def _line(entry: Row) -> bytes:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
