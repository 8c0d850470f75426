"""`collect`: make histories and one table of all reports in a folder."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from filelock import Timeout

from xalign.errors import ArgumentError, ReportError
from xalign.results.history import NAME, History
from xalign.results.locks import acquire, lock_of
from xalign.results.report import AlignmentReport
from xalign.results.saved import REPORT
from xalign.storage import writable_folder
from xalign.sweep.table import rows_of, table_path, write_table
from xalign.warn import warn

PATIENCE = 600.0  # seconds for which another collector may be at work


@dataclass(frozen=True)
class Collected:
    """What was collected.

    Attributes:
        reports: How many reports are in the table.
        rows: How many rows it has.
        table: The file.
        histories: The files of histories, of reports that have steps.
        broken: What is wrong with reports that are left out, by their folders.
    """

    reports: int
    rows: int
    table: Path
    histories: list[Path] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)


def collect(folder: str | Path) -> Collected:
    """Merge all reports in a folder into one table, and those that have steps into histories.

    Reports with steps that lie in one folder, such as `pythia/flores/step-00001000`, become the history of
    that folder, `pythia/flores/history.jsonl`: a step that is there already stays as it is. The table,
    `table.parquet` or without pyarrow `table.csv`, has the rows of every report, in the order of their
    folders. It is replaced in one step. A second collector waits for the first. A report that is broken is
    warned about and left out.

    Args:
        folder: The folder, such as the `out` of a sweep.

    Raises:
        ReportError: It holds no report, it cannot be written, or another collector works for ten minutes.

    Example:
        >>> saved = measure(model, tokenizer, pairs, ["nasca"], step=100).save("swept/tiny/step-00000100")
        >>> done = collect("swept")
        >>> done.reports, done.table.name
        (1, 'table.parquet')
    """
    if not isinstance(folder, str | Path) or not Path(folder).is_dir():
        raise ReportError(f"{folder!s:.200} is no folder; give the `out` of a sweep")
    folder = writable_folder(folder, ReportError)
    table = table_path(folder)
    try:
        lock = acquire(lock_of(table), PATIENCE)
    except Timeout:
        raise ReportError(f"another process has collected {str(folder)!r} for {PATIENCE:g} seconds") from None
    try:
        return _collected(folder, table)
    finally:
        lock.release()


def _collected(folder: Path, table: Path) -> Collected:
    rows, histories, broken = [], {}, {}
    count = 0
    for place in _reports_in(folder):
        name = place.relative_to(folder).as_posix()
        try:
            report = AlignmentReport.load(place)
        except ReportError as error:
            broken[name] = str(error)
            warn(f"the report in {name} is left out: {error}")
            continue
        count += 1
        rows += rows_of(name, report)
        if report.step is None:
            continue
        if place.parent not in histories:
            histories[place.parent] = History(place.parent / NAME)
        _insert(histories[place.parent], report, name)
    if not count:
        raise ReportError(f"{str(folder)!r} holds no report that is whole; give the `out` of a sweep")
    write_table(table, rows)
    return Collected(count, len(rows), table, sorted(one / NAME for one in histories), broken)


def _insert(history: History, report: AlignmentReport, name: str) -> None:
    if report.step in history.steps:
        return
    try:
        history.insert(report)
    except ArgumentError:  # a run has inserted the step since
        pass
    except ReportError as error:  # other sentences or settings than those of its neighbours
        warn(f"the report in {name} is in the table, and not in the history beside it: {error}")
        history.entries = [one for one in history.entries if one["step"] not in history.unwritten]
    except OSError as error:
        raise ReportError(
            f"{history.path} cannot be written: {error.strerror or error}; make room there and collect again"
        ) from error


def _reports_in(folder: Path) -> list[Path]:
    """Return the folders of reports, in an order that does not depend on the file system."""
    found = []
    for place, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".")]
        if REPORT in files:
            found.append(Path(place))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
