"""Read the lines of a UTF-8 file, packed or not; errors say where the file is broken."""

import gzip
import io
import zlib
from pathlib import Path

from xalign.errors import PairsError
from xalign.files import read_regular

# What a packed file may hold, in bytes: about ten million sentences. A small file can unpack to any size.
MOST_UNPACKED = 2**30


def read_bytes(path: Path) -> bytes:
    """Read a file, and unpack it if its name ends in `.gz`.

    Raises:
        PairsError: The file cannot be read, is no regular file, is not packed as its name says, or unpacks
            to more than `MOST_UNPACKED` bytes.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise PairsError(f"{path} cannot be read: {error.strerror or error}") from None
    if path.suffix != ".gz":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            unpacked = packed.read(MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PairsError(f"{path} is no whole gzip file: {error}") from None
    if len(unpacked) > MOST_UNPACKED:
        raise PairsError(
            f"{path} unpacks to more than {MOST_UNPACKED} bytes; unpack it, and take a part of it"
        )
    return unpacked


def read_lines(path: Path) -> list[str]:
    """Read the lines of a file, split at newlines only.

    `str.splitlines` also splits at characters such as U+2028, which would shift every later line.

    Raises:
        PairsError: The file cannot be read, is no regular file, is not UTF-8, or holds NUL characters.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PairsError(
            f"{path} is not UTF-8: line {line}, byte {error.start}; convert it to UTF-8, e.g. with iconv"
        ) from None
    if "\0" in text:
        raise PairsError(
            f"{path} holds NUL characters, so it is probably UTF-16; convert it to UTF-8, e.g. with iconv"
        )
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines
