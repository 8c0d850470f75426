"""Rows of many reports as one file: parquet where pyarrow is installed, else CSV."""

import csv
import io
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xalign.errors import ReportError
from xalign.results.report import AlignmentReport
from xalign.storage import write_whole

STEM = "table"
# Column -> its type in parquet. The last ones are those of `AlignmentReport.to_rows`.
COLUMNS = {
    "folder": "string",
    "model": "string",
    "revision": "string",
    "fingerprint": "string",
    "step": "int64",
    "metric": "string",
    "language": "string",
    "stack": "string",
    "layer": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n": "int64",
    "documents": "int64",
    "chance": "float64",
    "floor": "float64",
}


def table_path(folder: Path) -> Path:
    """Return the file of the table in a folder: its kind depends on whether pyarrow is installed."""
    return folder / f"{STEM}.{'csv' if find_spec('pyarrow') is None else 'parquet'}"


def rows_of(name: str, report: AlignmentReport) -> list[dict[str, Any]]:
    """Return the rows of a report, with where it lies and what was measured.

    Args:
        name: Its folder.
        report: The report.
    """
    about = {
        "folder": name,
        "model": report.provenance.get("model"),
        "revision": report.provenance.get("revision"),
        "fingerprint": report.pairs.fingerprint,
    }
    return [about | row | {"layer": str(row["layer"])} for row in report.to_rows()]


def write_table(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows, completely or not at all.

    Args:
        path: The file, whose ending says its form.
        rows: Dicts with the keys of `COLUMNS`.

    Raises:
        ReportError: It cannot be written.
    """
    write_whole(path, _parquet(rows) if path.suffix == ".parquet" else _csv(rows), ReportError)


def _csv(rows: Iterable[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _parquet(rows: Iterable[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), buffer)
    return buffer.getvalue()
