"""Lines of a UTF-8 file, with errors that say where it is broken."""

from pathlib import Path

from xalign.errors import PairsError


def read_lines(path: Path) -> list[str]:
    """The lines of a file, split at newlines only: splitting at U+2028 would shift every later line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PairsError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PairsError(
            f"{path} is not UTF-8: line {line}, byte {error.start}; convert it, e.g. with iconv"
        ) from None
    if "\0" in text:
        raise PairsError(
            f"{path} holds NUL characters, as UTF-16 read as UTF-8 does; convert it, e.g. with iconv"
        )
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines
