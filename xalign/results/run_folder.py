"""Where a run keeps its history and reports, and how sentences stay out of an upload."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xalign.files import free_path, is_half_written
from xalign.results.saved import KIND, REPORT
from xalign.storage import values_named_in

PUBLIC, PRIVATE = "alignment", "_alignment"
"""The folder in a run's `output_dir`. A Trainer's upload leaves out what begins with `_`."""
TRAINER_STATE = "trainer_state.json"
"""What a transformers Trainer writes last into a checkpoint."""


def run_folder(output_dir: str | Path) -> Path:
    """Return the folder in which a run keeps, or will keep, its history and reports.

    Args:
        output_dir: The trainer's.

    Example:
        >>> run_folder("run").as_posix()
        'run/alignment'
    """
    public, private = Path(output_dir) / PUBLIC, Path(output_dir) / PRIVATE
    return private if private.is_dir() and not public.exists() else public


def file_of_run(history: Path | None, name: str) -> Path | None:
    """Return the file of a run with this name, or None if there is none.

    Args:
        history: The run's history. The file lies beside it, or in the other of a run's two folders.
        name: Its name.
    """
    if history is None:
        return None
    folder = history.parent
    folders = [folder]
    if folder.name in (PUBLIC, PRIVATE):
        folders += [folder.parent / other for other in (PUBLIC, PRIVATE)]
    return next((one / name for one in folders if (one / name).is_file()), None)


def make_private(output_dir: str | Path, stays: Callable[[str], bool]) -> bool:
    """Move what a run has kept to a folder that a Trainer's upload leaves out.

    Args:
        output_dir: The trainer's.
        stays: A function that says whether something of this name stays where it is.

    Returns:
        Whether anything was moved.

    Raises:
        OSError: It cannot be moved.
    """
    public, private = Path(output_dir) / PUBLIC, Path(output_dir) / PRIVATE
    found = [path for path in public.iterdir() if not stays(path.name)] if public.is_dir() else []
    if not found:
        return False
    private.mkdir(exist_ok=True)
    taken = {path.name for path in private.iterdir()}
    aside = free_path(private, "earlier")
    for path in found:
        target = private
        if path.name in taken:  # an earlier run was private already
            target = aside
            target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    if not any(public.iterdir()):
        public.unlink() if public.is_symlink() else public.rmdir()
    return True


def reports_in_upload(output_dir: str | Path, may_leave: Callable[[Path], bool]) -> list[Path]:
    """Return the report files in a folder that a Trainer's upload would send although it may not.

    They may be of another run inside of this one's folder, or saved there by hand. Half-written ones count.

    Args:
        output_dir: The trainer's.
        may_leave: Whether a report at this path inside the folder may be sent.
    """
    found = []
    for folder, inside, names in os.walk(output_dir):
        if Path(folder) == Path(output_dir):
            inside[:] = [name for name in inside if not name.startswith("_")]
        paths = [Path(folder, name) for name in names if name == REPORT or is_half_written(name)]
        found += [path for path in paths if not may_leave(path.relative_to(output_dir)) and _is_report(path)]
    return found


def _is_report(path: Path) -> bool:
    if not path.is_file():  # a pipe would not let itself be read
        return False
    with path.open("rb") as file:
        return f'"{KIND}"'.encode() in file.read(4096)


def move_reports(output_dir: str | Path, reports: list[Path]) -> Path | None:
    """Move files of reports, each with its tensors, to where a Trainer's upload leaves them out.

    Args:
        output_dir: The trainer's.
        reports: What `reports_in_upload` found.

    Returns:
        The new folder that has them at their paths; None if there are none.

    Raises:
        OSError: One cannot be moved.
    """
    if not reports:
        return None
    aside = free_path(Path(output_dir) / PRIVATE, "earlier")
    for report in reports:
        values = values_named_in(report)
        target = aside / report.parent.relative_to(output_dir)
        target.mkdir(parents=True, exist_ok=True)
        report.rename(target / report.name)
        if values is not None and (report.parent / values).exists():
            (report.parent / values).rename(target / values)
        with suppress(OSError):  # there is something else in it
            report.parent.rmdir()
    return aside


def keep_back(
    output_dir: str | Path, stays: Callable[[str], bool], may_leave: Callable[[Path], bool]
) -> tuple[list[Path], list[Path]]:
    """Keep out of an upload, at any price, what `make_private` and `move_reports` could not move.

    Each thing gets a name of its own in `output_dir` that begins with `_`. Where that fails too, its files
    are deleted, or emptied.

    Args:
        output_dir: The trainer's.
        stays: Whether something of this name in the run's folder stays where it is.
        may_leave: Whether a report at this path inside `output_dir` may be sent.

    Returns:
        Where things are now, and what was deleted.

    Raises:
        OSError: Something cannot even be emptied.
    """
    public = Path(output_dir) / PUBLIC
    entries = list(public.iterdir()) if public.is_dir() else []
    found = [path for path in entries if not stays(path.name)]
    whole = [public] if found and len(found) == len(entries) else found
    # Those inside of what is kept back here are gone when it is their turn.
    reports = reports_in_upload(output_dir, may_leave)
    kept, deleted = [], []
    for path in [*whole, *reports]:
        if not path.exists():
            continue
        target = free_path(Path(output_dir), f"_{path.name}")
        try:
            kept.append(path.rename(target))
        except OSError:
            _delete(path)
            deleted.append(path)
    return kept, deleted


def _delete(path: Path) -> None:
    is_folder = path.is_dir() and not path.is_symlink()
    for file in path.rglob("*") if is_folder else [path]:
        if file.is_dir() and not file.is_symlink():
            continue
        try:
            file.unlink()
        except OSError:
            file.write_bytes(b"")
