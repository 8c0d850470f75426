"""`OwnCheckpoints`: which checkpoints were saved for `keep_best` alone, by a record beside them."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xalign.files import free_path
from xalign.storage import write_whole

RECORD = "keep_best.json"
DELETING = "_deleting-"  # in front of the name of a checkpoint that is being deleted
SCHEMA_VERSION = 1
PATIENCE = 20.0  # seconds for which the workers of a killed run may hold its lock


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
        self._lock: FileLock | None = None
        # Name -> what the folder was when it was saved; None between its announcement and the end of saving.
        self._found: dict[str, dict[str, Any] | None] = {}

    def lock(self) -> bool:
        """Keep other processes from keeping a best checkpoint in the same folder.

        Returns:
            False where another process does so.

        Raises:
            OSError: The folder cannot be locked.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "keep_best.lock", is_singleton=True)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            return False
        self._lock = lock
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
            ValueError: It is no such list; then nothing counts as saved for `keep_best`.
        """
        self._found = {}
        if not (self.folder / RECORD).exists():
            return
        self._found = _parsed((self.folder / RECORD).read_text(encoding="utf-8"))
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
        if was is not None and half_deleted.is_dir() and half_deleted.stat().st_ino == was["inode"]:
            shutil.rmtree(half_deleted)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        body = {"schema_version": SCHEMA_VERSION, "kept": self._found}
        write_whole(self.folder / RECORD, json.dumps(body).encode())


def _parsed(text: str) -> dict[str, dict[str, Any] | None]:
    """Return the content of the list, or raise a ValueError."""
    body = json.loads(text)
    if not isinstance(body, dict) or body.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{RECORD} is not a list of checkpoints that this xalign reads")
    kept = body.get("kept")
    if not isinstance(kept, dict) or not all(
        re.fullmatch(r"checkpoint-\d+", name) and (was is None or (isinstance(was, dict) and "inode" in was))
        for name, was in kept.items()
    ):
        raise ValueError(f"{RECORD} is broken")
    return kept


def _identity(checkpoint: Path) -> dict[str, Any] | None:
    """Return what a folder is: its inode, and the size and time of all its files; None where it is none."""
    if not checkpoint.is_dir() or checkpoint.is_symlink():
        return None
    files = {
        path.relative_to(checkpoint).as_posix(): [path.lstat().st_size, path.lstat().st_mtime_ns]
        for path in _files(checkpoint)
    }
    return {"inode": checkpoint.stat().st_ino, "files": files}


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in sorted(names))


def _step_of(name: str) -> int:
    return int(name.removeprefix("checkpoint-"))
