"""The file of a history: a line of JSON per entry, each with a checksum."""

import json
import os
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from xalign.errors import ArgumentError, ReportError
from xalign.files import read_regular
from xalign.results.history_entry import KIND, SCHEMA_VERSION, Row, check_entry, check_follows
from xalign.results.locks import lock_of, locked
from xalign.schema import read_json

# What every line begins with, of 0.1.0 too; a write that broke off leaves a part of it, or more.
_HEAD = f'{{"schema_version": {SCHEMA_VERSION}, "kind": "{KIND}", "step": '.encode()
_CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\s*\Z')


class Stored(NamedTuple):
    """What a file holds.

    Attributes:
        entries: Its entries.
        size: Its size in bytes.
        is_torn: Whether a part of a line follows the entries, as an interrupted write leaves it.
        is_ended: Whether it ends with a whole line, so that more can be appended.
    """

    entries: list[Row]
    size: int
    is_torn: bool = False
    is_ended: bool = True


def line_of(entry: Row) -> bytes:
    """Return the line of an entry: its JSON, whose last key is the CRC-32 of all that comes before it.

    Raises:
        ReportError: The entry holds what a line cannot, such as NaN.
    """
    try:
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()[:-1]
    except (TypeError, ValueError) as reason:
        raise ReportError(
            f"the entry of step {entry['step']} cannot be written to a history: {reason}"
        ) from None
    return text + b', "crc32": "%08x"}\n' % crc32(text)


def load(path: Path) -> Stored:
    """Read a file while others may write to it.

    Readers take no lock. Only if something is wrong is the file read again under its lock, because a line
    that is just being written looks like a broken one. If no lock file exists, nobody writes, and none is
    created, since the file may be no history at all.

    Raises:
        ReportError: The file is no history, or a damaged one.
    """
    with suppress(ReportError):
        stored = read(path)
        if not stored.is_torn:
            return stored
    with ExitStack() as stack:
        if lock_of(path).exists():
            with suppress(OSError, ReportError):  # a folder that cannot be written has no writer to wait for
                stack.enter_context(locked(path))
        return read(path)


def read(path: Path) -> Stored:
    """Read a file that nobody else is writing to.

    Raises:
        ReportError: The file is no history, or a damaged one.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise ReportError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    lines = data.split(b"\n")
    rest = lines[-1]
    entries: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if number == len(lines) and _is_torn(line):
            return Stored(entries, len(data), is_torn=True, is_ended=False)
        try:
            entry = _entry_in(line)
            if entries:
                check_follows(entry, entries[-1])
        except ReportError as error:
            raise ReportError(f"{path}, line {number}: {error}") from None
        except ArgumentError as error:
            raise ReportError(
                f"{path}, line {number} is no entry of a history ({error}); restore the file, or name "
                "another folder"
            ) from None
        entries.append(entry)
    return Stored(entries, len(data), is_ended=not rest)


def _is_torn(line: bytes) -> bool:
    """Return whether a line without an end is what a write that broke off leaves of an entry."""
    if not line.strip(b"\0"):  # a file that grew before its data came to the disk
        return True
    if _CHECKSUM.search(line) or not (line.startswith(_HEAD) or _HEAD.startswith(line)):
        return False
    try:
        read_json(line)
    except ArgumentError:
        return True
    return False


def append_lines(path: Path, data: bytes, size: int) -> None:
    """Append lines to a file of a known size, and make sure that they are on the disk.

    An incomplete write is undone, so that the file ends with a whole line.
    """
    with open(path, "ab", buffering=0) as file:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(size)
            raise


def _entry_in(line: bytes) -> Row:
    """Return the entry in a line.

    Raises:
        ArgumentError: It holds no entry.
        ReportError: An entry of another schema, or a damaged one.
    """
    entry: Row = read_json(line)
    stated = _CHECKSUM.search(line)
    if stated is not None:
        del entry["crc32"]
    check_entry(entry)  # a damaged checksum is a key that no entry has
    if stated is not None and crc32(line[: stated.start()]) != int(stated[1], 16):
        raise ReportError(
            "its checksum is wrong, so it was damaged or edited; restore the file, or name another folder"
        )
    return entry
