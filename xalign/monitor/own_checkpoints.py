"""`OwnCheckpoints`: which checkpoints were saved for `keep_best` alone, by a record beside them."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from filelock import BaseFileLock, Timeout
from msgspec import Meta

from xalign.files import free_path, read_regular, sweep
from xalign.results.locks import acquire_for_process
from xalign.results.run_folder import TRAINER_STATE
from xalign.schema import Count, Fields, checked, read_json
from xalign.storage import write_whole

RECORD = "keep_best.json"
DELETING = "_deleting-"  # in front of the name of a checkpoint that is being deleted
PATIENCE = 20.0  # seconds for which the workers of a killed run may hold its lock
_MOST = 2**26  # bytes; a list of a thousand checkpoints has a hundredth of that, and so has a trainer's state

_Name = Annotated[str, Meta(pattern=r"\Acheckpoint-[0-9]{1,18}\Z")]


class _Folder(Fields):
    """What a folder is: its inode, and the size and time of all its files."""

    inode: int
    files: dict[str, tuple[Count, int]]


class _Announced(Fields):
    """What is known of a checkpoint before it is saved: a mark for its state, and the files there already."""

    token: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    there: dict[str, tuple[Count, int]]


class _Record(Fields):
    """The list of checkpoints. What a folder was is not known between its announcement and its saving."""

    kept: dict[_Name, _Folder | None]
    announced: dict[_Name, _Announced] = {}
    schema_version: Literal[1] = 1


class OwnCheckpoints:
    """The checkpoints in a run's `output_dir` that were saved for `keep_best` alone.

    A file of its own lists them, each with its inode, and the size and time of every file. A folder is
    deleted only if it is exactly the one in the list: no copy of it, and nothing added or changed since.
    Where a run ended between saving a folder and listing it, it counts only with the token of this save.

    Args:
        output_dir: The trainer's.
        folder: Where the list is kept.
    """

    def __init__(self, output_dir: Path, folder: Path) -> None:
        self._output_dir, self.folder = output_dir, folder
        self._lock: BaseFileLock | None = None
        # Name -> what the folder was when it was saved; None between its announcement and the end of saving.
        self._found: dict[str, _Folder | None] = {}
        self._announced: dict[str, _Announced] = {}

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
        self._found, self._announced = {}, {}
        sweep(self.folder)
        if not (self.folder / RECORD).exists():
            return
        record = checked(_Record, read_json(read_regular(self.folder / RECORD, _MOST)))
        self._found, self._announced = record.kept, record.announced
        for name, was in list(self._found.items()):
            self._finish_deleting(name)
            checkpoint = self._output_dir / name
            if not checkpoint.is_dir():
                del self._found[name]
            elif was is None and self._has_token(name):  # the run ended between saving and noting it
                self._found[name] = _identity(checkpoint)
        self._write()

    def set_aside(self) -> Path | None:
        """Move what an earlier run kept to a folder of its own, for a run that begins anew.

        What was announced and never saved whole stays listed, so that it can be saved over.

        Returns:
            That folder, or None where nothing was moved.

        Raises:
            OSError: It cannot be moved.
        """
        own = [name for name, was in self._found.items() if was is not None and self._is_own(name)]
        broken_off = [name for name, was in self._found.items() if was is None]
        self._found = {name: self._found[name] for name in [*own, *broken_off]}
        self._announced = {name: self._announced[name] for name in broken_off if name in self._announced}
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
        if not os.path.lexists(self._output_dir / name):
            return True
        if name not in self._found:
            return False
        if self._found[name] is not None:
            return self._is_own(name)
        # A save of ours may have broken off there. A whole checkpoint without our token is another run's.
        is_whole = os.path.lexists(self._output_dir / name / TRAINER_STATE)
        return not is_whole or self._has_token(name)

    def announce(self, name: str) -> str:
        """Note that a checkpoint is about to be saved for `keep_best` alone.

        Returns:
            The token that the trainer's state must hold while it is saved.

        Raises:
            OSError: It cannot be noted on disk; it is in memory.
        """
        was = None if self._has_token(name) else _identity(self._output_dir / name)
        is_own = self._found.get(name) is not None
        there = {} if was is None or is_own else was.files
        self._found[name] = None
        self._announced[name] = _Announced(token=secrets.token_hex(16), there=there)
        self._write()
        return self._announced[name].token

    def confirm(self, name: str) -> None:
        """Note that a checkpoint that was announced is saved.

        Raises:
            OSError: It cannot be noted.
        """
        if name not in self._found:
            return
        found, before = _identity(self._output_dir / name), self._announced.pop(name, None)
        is_mixed = (
            found is not None and before is not None and bool(found.files.items() & before.there.items())
        )
        if is_mixed:  # what was there before, and the save did not write, is somebody else's
            del self._found[name]
        else:
            self._found[name] = found
        self._write()

    def release(self, name: str) -> None:
        """Forget a checkpoint: the trainer saved it for itself.

        Raises:
            OSError: It cannot be noted on disk; it is in memory.
        """
        self._announced.pop(name, None)
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
            self._announced.pop(name, None)
            self._write()

    def _is_own(self, name: str) -> bool:
        """Whether a folder is exactly what was saved."""
        return self._found[name] == _identity(self._output_dir / name)

    def _has_token(self, name: str) -> bool:
        """Whether a folder was saved whole under its announcement: its state holds the token."""
        with suppress(KeyError, OSError):
            token = self._announced[name].token.encode()
            return token in read_regular(self._output_dir / name / TRAINER_STATE, _MOST)
        return False

    def _finish_deleting(self, name: str) -> None:
        was, half_deleted = self._found[name], self._output_dir / f"{DELETING}{name}"
        if was is not None and half_deleted.is_dir() and half_deleted.stat().st_ino == was.inode:
            shutil.rmtree(half_deleted)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(
            self.folder / RECORD, msgspec.json.encode(_Record(kept=self._found, announced=self._announced))
        )


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
