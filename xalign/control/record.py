"""Measurements and decisions of a run as JSON: kept in checkpoints, written as `decisions.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from xalign.control.decision import Decision
from xalign.control.signals import Estimate, Signals
from xalign.errors import ArgumentError, ReportError
from xalign.files import free_path, read_regular
from xalign.schema import read_json
from xalign.storage import write_whole

FILE = "decisions.jsonl"
_FIELDS = tuple(field.name for field in fields(Signals))


def record_of(signals: Signals, decision: Decision, controller: str) -> dict[str, Any]:
    """Return one measurement, and what was decided at it, as JSON holds them."""
    seen = {name: _plain(getattr(signals, name)) for name in _FIELDS}
    return {"step": signals.step, "controller": controller, "decision": decision.to_dict(), "signals": seen}


def read_record(record: Mapping[str, Any]) -> tuple[Signals, Decision]:
    """Return the measurement and the decision of a record.

    Raises:
        ArgumentError: Fields that are missing or unknown, or values that a decision does not take.
    """
    try:
        seen = dict(record["signals"])
        seen["alignment"] = {code: Estimate(*values) for code, values in seen["alignment"].items()}
        seen["by_layer"] = {
            code: {int(block): value for block, value in layers.items()}
            for code, layers in seen["by_layer"].items()
        }
        return Signals(**seen), Decision.from_dict(record["decision"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"this is no record of a decision: {error!r:.100}") from error


def write_records(records: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write all records of a run to a folder, and replace a file that was there in one step.

    Raises:
        ReportError: It cannot be written.
    """
    text = "".join(f"{json.dumps(one, ensure_ascii=False, allow_nan=False)}\n" for one in records)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{folder} cannot be made: {error}") from error
    write_whole(folder / FILE, text.encode(), ReportError)


def keep_earlier(folder: Path) -> None:
    """Move the file that an earlier run has left in a folder to `decisions-1`, or the next free name."""
    with suppress(OSError):
        if (folder / FILE).exists():
            (folder / FILE).rename(free_path(folder, "decisions"))


def load_decisions(path: str | Path) -> tuple[Decision, ...]:
    """Return the decisions of a run, for `Listed`. The argument and errors are those of `load_run`."""
    return tuple(decision for _, decision in load_run(path))


def load_run(path: str | Path) -> list[tuple[Signals, Decision]]:
    """Return the measurements and decisions of a run.

    Args:
        path: A file `decisions.jsonl`, or the folder that it is in.

    Raises:
        ReportError: There is no such file, or a line that is no record of a decision.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    try:
        lines = read_regular(file).splitlines()
    except OSError as error:
        raise ReportError(f"{file} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(read_record(read_json(line)))
        except ArgumentError as error:
            raise ReportError(f"{file}, line {number}: {error}") from error
    if not found:
        raise ReportError(f"{file} holds no decision")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
