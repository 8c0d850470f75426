"""Locks between processes: a file beside what they guard."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from xalign.errors import ReportError

WAIT = 10.0  # seconds; a line is written in milliseconds
_POLL = 0.01
# What a network file system without locks answers. filelock itself knows one more, ENOSYS.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
# The locks that this process keeps, by device and inode: a path changes with a rename or a chdir.
_HELD: WeakValueDictionary[tuple[int, int], BaseFileLock] = WeakValueDictionary()


def lock_of(path: Path) -> Path:
    """Return the hidden file that is locked while a file is changed; for a link, that of its target."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that every process takes before it changes a file.

    The lock belongs to a hidden file beside `path`, because `path` itself may be replaced. The operating
    system frees it when a process ends, also by SIGKILL. On file systems without locks, the existence of the
    hidden file is the lock; there a killed process can leave it behind.

    Raises:
        ReportError: Another process has held the lock for `WAIT` seconds.
        OSError: The lock file cannot be written.
    """
    place = lock_of(path)
    try:
        lock = acquire(place, WAIT)
    except Timeout:
        raise ReportError(
            f"{path} is locked by another process, and was for {WAIT:g} seconds; if no other process uses "
            f"it, delete {place}"
        ) from None
    try:
        yield
    finally:
        lock.release()


def acquire(place: Path, wait: float) -> BaseFileLock:
    """Acquire a lock; on a file system without locks, the existence of the file is the lock.

    Args:
        place: The lock file.
        wait: The longest time to wait, in seconds.

    Raises:
        Timeout: Another process holds the lock.
        OSError: The lock file cannot be written.
    """
    lock: BaseFileLock = FileLock(place, timeout=wait, thread_local=False)
    try:
        lock.acquire(poll_interval=_POLL)
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLock(place.with_name(f"{place.name}-soft"), timeout=wait, thread_local=False)
        lock.acquire(poll_interval=_POLL)
    return lock


def acquire_for_process(place: Path, wait: float) -> BaseFileLock:
    """Acquire a lock that belongs to the process; if the process holds it already, return the same one.

    It is held until it is released, or until nothing refers to it.

    Args:
        place: The lock file.
        wait: The longest time to wait, in seconds.

    Raises:
        Timeout: Another process holds the lock.
        OSError: The lock file cannot be written.
    """
    if place.exists() and (held := _HELD.get(_identity(place))) is not None and held.is_locked:
        return held
    lock = acquire(place, wait)
    _HELD[_identity(place)] = lock
    return lock


def _identity(place: Path) -> tuple[int, int]:
    found = place.stat()
    return found.st_dev, found.st_ino
