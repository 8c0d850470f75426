"""Files as the system has them: read without waiting, named while being written, swept when left behind."""

import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from xalign.errors import ArgumentError

_PREFIX = ".writing-"
# The machine and the process that writes, and eight characters by chance. 0.1.0 wrote only the last of them.
_NAME = re.compile(rf"{re.escape(_PREFIX)}(?:([0-9a-f]{{8}})-([0-9]{{1,10}})-)?[a-z0-9_]{{8}}", re.ASCII)
ABANDONED_AFTER = 24 * 3600.0  # seconds; a write takes less than a minute


def html_file(argument: str, path: str | Path) -> Path:
    """Return the path of a page that is to be written.

    Raises:
        ArgumentError: Another ending.

    Example:
        >>> html_file("path", "run.html").name
        'run.html'
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ArgumentError(f"{argument}={str(path)!r} must end in .html: the file there is replaced")
    return path


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Read a file, but no pipe or device, which would never end.

    Args:
        path: The file.
        most: The largest size that is read, in bytes.

    Raises:
        OSError: The file cannot be read, or it is no regular file, or it is larger than `most`.
    """
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no regular file, but a folder, a pipe or a device")
        if most is not None and found.st_size > most:
            raise OSError(f"{path} has {found.st_size} bytes, more than the {most} that there can be")
        return file.read()


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def version_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells one version of a file from another; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def free_path(folder: Path, name: str) -> Path:
    """Return the first of `name-1`, `name-2`, … in a folder that is not there."""
    number = 1
    while (path := folder / f"{name}-{number}").exists():
        number += 1
    return path


def temporary_name() -> str:
    """Return a new name of a file that this process is writing."""
    return f"{_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def is_half_written(name: str) -> bool:
    """Return whether a file's name is that of one that is being written, or that a killed process left."""
    return _NAME.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder: files, and whole folders.

    A file goes where its process ran on this machine and is no longer there, or where it was last written a
    day ago and its process cannot be asked about. The file of a process that lives is kept, however old.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is not None:
                with suppress(OSError):  # another process swept it
                    _remove(entry, found[1], found[2])


def _remove(entry: "os.DirEntry[str]", machine: str | None, process: str | None) -> None:
    state = entry.stat(follow_symlinks=False)
    is_folder = stat.S_ISDIR(state.st_mode) and machine is not None  # 0.1.0 wrote files only
    if not is_folder and not stat.S_ISREG(state.st_mode):
        return
    if machine == _machine() and process is not None and os.name == "posix":
        is_abandoned = not _is_alive(int(process))
    else:
        is_abandoned = time.time() - state.st_mtime > ABANDONED_AFTER
    if is_abandoned and is_folder:
        shutil.rmtree(entry.path, ignore_errors=True)
    elif is_abandoned:
        os.unlink(entry.path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


@cache
def _machine() -> str:
    """Return a short name of this machine. Containers count as machines: they number processes anew."""
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]
