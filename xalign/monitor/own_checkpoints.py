"""`OwnCheckpoints`: which checkpoints were saved for `keep_best` alone, by a record beside them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from filelock import BaseFileLock, Timeout
from msgspec import Meta

from xalign.files import free_path, read_regular
from xalign.results.locks import acquire_for_process
from xalign.schema import Count, Fields, checked, read_json
from xalign.storage import write_whole

RECORD = "keep_best.json"
DELETING = "_deleting-"  # in front of the name of a checkpoint that is being deleted
PATIENCE = 20.0  # seconds for which the workers of a killed run may hold its lock
_MOST = 2**26  # bytes; a list of a thousand checkpoints has a hundredth of that

_Name = Annotated[str, Meta(pattern=r"\Acheckpoint-[0-9]{1,18}\Z")]


class _Folder(Fields, frozen=True):
    """What a folder is: its inode, and the size and time of all its files."""

    inode: int
    files: dict[str, tuple[Count, int]]


class _Record(Fields):
    """The list of checkpoints. What a folder was is not known between its announcement and its saving."""

    kept: dict[_Name, _Folder | None]
    schema_version: Literal[1] = 1


class OwnCheckpoints:
    """The checkpoints in a run's `output_dir` that were saved for `keep_best` alone.

    A file of its own lists them, each with its inode, and the size and time of every file. A folder is
    deleted only if it is exactly the one in the list: no copy of it, and nothing added or changed since.

    Args:
        output_dir: The trainer's.
        folder: Where the list is kept.
    """

    def __init__(self, output_dir: Path, folder: Path) -> None:
        self._output_dir, self.folder = output_dir, folder
        self._lock: BaseFileLock | None = None
        # Name -> what the folder was when it was saved; None between its announcement and the end of saving.
        self._found: dict[str, _Folder | None] = {}

    def lock(self) -> bool:
        """Keep other processes from keeping a best checkpoint in the same folder.

        Returns:
            False where another process does so.

        Raises:
            OSError: The folder cannot be locked.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = acquire_for_process(self.folder / "keep_best.lock", PATIENCE)
        except Timeout:
            return False
        return True

    def unlock(self) -> None:
        """Let other runs in."""
        if self._lock is not None:
            self._lock.release(force=True)
            self._lock = None

    def read(self) -> None:
        """Take up the list of a run that resumes, and finish what it was interrupted in.

        Raises:
            OSError: The list cannot be read.
            ArgumentError: It is no such list; then nothing counts as saved for `keep_best`.
        """
        self._found = {}
        if not (self.folder / RECORD).exists():
            return
        self._found = checked(_Record, read_json(read_regular(self.folder / RECORD, _MOST))).kept
        for name, was in list(self._found.items()):
            self._finish_deleting(name)
            checkpoint = self._output_dir / name
            if not checkpoint.is_dir():
                del self._found[name]
            elif was is None:  # the run ended between saving and noting it
                self._found[name] = _identity(checkpoint)
        self._write()

    def set_aside(self) -> Path | None:
        """Move what an earlier run kept to a folder of its own, for a run that begins anew.

        Returns:
            That folder, or None where nothing was moved.

        Raises:
            OSError: It cannot be moved.
        """
        own = [name for name, was in self._found.items() if was is not None and self._is_own(name)]
        self._found = {name: self._found[name] for name in own}
        aside = free_path(self._output_dir, "_earlier")
        for name in own:
            aside.mkdir(exist_ok=True)
            (self._output_dir / name).rename(aside / name)
            del self._found[name]
        self._write()
        return aside if own else None

    def is_free(self, name: str) -> bool:
        """Return whether a checkpoint can be saved under a name without harm to what is not ours.

        Raises:
            OSError: This cannot be known.
        """
        there = os.path.lexists(self._output_dir / name)
        return not there or (name in self._found and self._is_own(name))

    def announce(self, name: str) -> None:
        """Note that a checkpoint is about to be saved for `keep_best` alone.

        Raises:
            OSError: It cannot be noted on disk; it is in memory.
        """
        self._found[name] = None
        self._write()

    def confirm(self, name: str) -> None:
        """Note that a checkpoint that was announced is saved.

        Raises:
            OSError: It cannot be noted.
        """
        if name in self._found:
            self._found[name] = _identity(self._output_dir / name)
            self._write()

    def release(self, name: str) -> None:
        """Forget a checkpoint: the trainer saved it for itself.

        Raises:
            OSError: It cannot be noted on disk; it is in memory.
        """
        if self._found.pop(name, self) is not self:
            self._write()

    def delete_before(self, best: str, step: int) -> None:
        """Delete what was saved for `keep_best` at earlier steps, but not the best.

        Raises:
            OSError: It cannot be deleted.
        """
        for name in [one for one in self._found if one != best and _step_of(one) < step]:
            if self._found[name] is not None and self._is_own(name):
                # Out of sight first: a killed run leaves no half of a checkpoint under its name.
                (self._output_dir / name).rename(self._output_dir / f"{DELETING}{name}")
            self._finish_deleting(name)
            del self._found[name]
            self._write()

    def _is_own(self, name: str) -> bool:
        """Whether a folder is exactly what was saved."""
        was = self._found[name]
        return was is None or was == _identity(self._output_dir / name)

    def _finish_deleting(self, name: str) -> None:
        was, half_deleted = self._found[name], self._output_dir / f"{DELETING}{name}"
        if was is not None and half_deleted.is_dir() and half_deleted.stat().st_ino == was.inode:
            shutil.rmtree(half_deleted)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / RECORD, msgspec.json.encode(_Record(kept=self._found)))


def _identity(checkpoint: Path) -> _Folder | None:
    """Return what a folder is; None where it is none."""
    if not checkpoint.is_dir() or checkpoint.is_symlink():
        return None
    files = {
        path.relative_to(checkpoint).as_posix(): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in _files(checkpoint)
    }
    return _Folder(inode=checkpoint.stat().st_ino, files=files)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in sorted(names))


def _step_of(name: str) -> int:
    return int(name.removeprefix("checkpoint-"))
