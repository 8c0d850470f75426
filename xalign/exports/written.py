"""`new_target`: a folder or a file that is written whole or not at all, with its provenance beside it."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.files import read_regular, temporary_name
from xalign.schema import read_json
from xalign.storage import writable_folder, write_whole

PROVENANCE = "xalign_export.json"
SCHEMA_VERSION = 1


@contextmanager
def new_target(
    path: str | Path, suffixes: tuple[str, ...], facts: dict[str, Any], *, overwrite: bool
) -> Iterator[Path]:
    """Give a path to write to, and move what was written to its place when the `with` ends without error.

    Args:
        path: Where it is to be.
        suffixes: The endings that a file may have; empty for a folder.
        facts: The provenance, as JSON holds it. It is read when the `with` ends. A folder holds it in a file
            of its own, and a file has it beside it.
        overwrite: Replace an export that is already there.

    Yields:
        A path in the same folder at which nothing exists.

    Raises:
        ArgumentError: Something is there already, or a file has another ending.
        UnitsError: It cannot be written.
    """
    path = check_target(path, suffixes, overwrite=overwrite)
    parent = writable_folder(path.absolute().parent, UnitsError)
    beside = parent / temporary_name()
    try:
        yield beside
        _finish(beside, facts, is_file=bool(suffixes))
        if suffixes:
            _move_file(beside, path, facts)
        else:
            _move_folder(beside, path)
    except (OSError, SafetensorError) as reason:
        said = getattr(reason, "strerror", None) or reason
        raise UnitsError(
            f"path={str(path)!r} cannot be written: {said!s:.200}; name another place"
        ) from reason
    finally:
        _remove(beside)


def provenance_path(path: Path, *, is_file: bool) -> Path:
    """Return where the provenance of an export is."""
    return path.with_name(f"{path.name}.json") if is_file else path / PROVENANCE


def read_provenance(path: Path, *, is_file: bool) -> dict[str, Any]:
    """Return the provenance of an export."""
    found: dict[str, Any] = read_json(read_regular(provenance_path(path, is_file=is_file)))
    return found


def check_target(path: object, suffixes: tuple[str, ...], *, overwrite: bool) -> Path:
    """Return the path of an export, after checking that writing there loses nothing.

    Args:
        path: Where it is to be.
        suffixes: The endings that a file may have; empty for a folder.
        overwrite: Whether an export that is already there may be replaced.

    Raises:
        ArgumentError: Something is there already, or a file has another ending.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise ArgumentTypeError(f"path={path!r:.60} must name a {'file' if suffixes else 'folder'}")
    found = Path(path)
    if suffixes and found.suffix not in suffixes:
        raise ArgumentError(
            f"path={str(path)!r} must end in {' or '.join(suffixes)}, which its readers look at"
        )
    _refuse_existing(found, is_file=bool(suffixes), overwrite=overwrite)
    return found


def _refuse_existing(path: Path, *, is_file: bool, overwrite: bool) -> None:
    """Raise an error where writing would destroy something: without `overwrite` anything, else no export."""
    if not os.path.lexists(path) or (not is_file and path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise ArgumentError(f"path={str(path)!r} exists; give another one, or overwrite=True")
    unknown = _not_exported(path, is_file=is_file)
    if unknown:
        raise ArgumentError(
            f"path={str(path)!r} holds what no export wrote ({', '.join(unknown[:3])}), which overwrite=True "
            "would remove; give another path, or remove it yourself"
        )


def _not_exported(path: Path, *, is_file: bool) -> list[str]:
    """Return the names of what is at a path and is not said to be exported by the provenance beside it."""
    try:
        said = read_provenance(path, is_file=is_file)
        files = {str(name) for name in said["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return [path.name]
    if is_file:
        return [] if path.is_file() and path.name in files else [path.name]
    held = {str(one.relative_to(path)) for one in path.rglob("*") if not one.is_dir()}
    return sorted(held - files - {PROVENANCE})


def _finish(beside: Path, facts: dict[str, Any], *, is_file: bool) -> None:
    """Note the digest of what was written, and make sure that it is on the disk.

    Raises:
        ArgumentError: Nothing was written.
    """
    if not (beside.is_file() if is_file else beside.is_dir()):
        raise ArgumentError(
            f"format={facts.get('format')!r} wrote no {'file' if is_file else 'folder'} at the path that its "
            "write was given"
        )
    files = [beside] if is_file else sorted(one for one in beside.rglob("*") if one.is_file())
    digests = {str(one.relative_to(beside)): _on_disk(one) for one in files}
    facts["files"] = {facts["path"]: digests["."]} if is_file else digests
    if not is_file:
        write_whole(beside / PROVENANCE, encoded(facts), UnitsError)


def _on_disk(path: Path) -> str:
    """Wait until a file is on the disk, and return its sha256."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def encoded(facts: Mapping[str, Any]) -> bytes:
    """Return a provenance as JSON.

    Raises:
        UnitsError: It holds what JSON cannot.
    """
    try:
        return json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as reason:
        raise UnitsError(f"the provenance holds what JSON cannot: {reason}; nothing was written") from None


def _move_file(beside: Path, path: Path, facts: Mapping[str, Any]) -> None:
    """Move a file to its place; at no time is a provenance beside it that is of another file."""
    told, text = provenance_path(path, is_file=True), encoded(facts)
    with suppress(FileNotFoundError):
        os.unlink(told)
    os.replace(beside, path)
    write_whole(told, text, UnitsError)


def _move_folder(beside: Path, path: Path) -> None:
    """Move a folder to its place. What was there has another name meanwhile, and is put back on an error."""
    if not os.path.lexists(path):
        os.replace(beside, path)
        return
    before = path.absolute().with_name(temporary_name())
    os.replace(path, before)
    try:
        os.replace(beside, path)
    except BaseException:
        if not os.path.lexists(path):
            os.replace(before, path)
        raise
    _remove(before)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)
