"""Read the lines of a UTF-8 file; errors say where the file is broken."""

from pathlib import Path

from xalign.errors import PairsError
from xalign.files import read_regular


def read_lines(path: Path) -> list[str]:
    """Read the lines of a file, split at newlines only.

    `str.splitlines` also splits at characters such as U+2028, which would shift every later line.

    Raises:
        PairsError: The file cannot be read, is no regular file, is not UTF-8, or holds NUL characters.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise PairsError(f"{path} cannot be read: {error.strerror or error}") from None
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
