"""Files that are written whole or not at all."""

import json
import os
import tempfile
from pathlib import Path

from xalign.errors import ArgumentTypeError, XAlignError


def writable_folder(folder: str | Path, error: type[XAlignError]) -> Path:
    """Makes a folder and checks that it can be written: before the work, not after.

    Raises:
        XAlignError: Of the given class, where it cannot be written or is no folder.
        ArgumentTypeError: What is no path.
    """
    if not isinstance(folder, str | Path):
        raise ArgumentTypeError(f"folder must be a path, not {folder!r:.60}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as reason:
        said = reason.strerror if isinstance(reason, OSError) else reason
        raise error(f"folder={str(folder)!r} cannot be written: {said}; name another one") from None
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file beside its place and moves it there in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def values_file(path: Path) -> Path | None:
    """The file of tensors that a saved JSON names, in its folder; None where it names none."""
    try:
        return path.parent / Path(json.loads(path.read_text("utf-8"))["values"]["file"]).name
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
