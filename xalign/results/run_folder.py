"""Where a run keeps its history and reports, and how sentences stay out of an upload."""

from collections.abc import Callable
from pathlib import Path

from xalign.files import free_path

PUBLIC, PRIVATE = "alignment", "_alignment"
"""The folder in a run's `output_dir`. A Trainer's upload leaves out what begins with `_`."""


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


def make_private(output_dir: str | Path, stays: Callable[[str], bool]) -> bool:
    """Move what a run has kept to where a Trainer's upload leaves it out.

    Args:
        output_dir: The trainer's.
        stays: Whether something of this name stays where it is.

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


def keep_back(output_dir: str | Path, stays: Callable[[str], bool]) -> tuple[list[Path], list[Path]]:
    """Keep what `make_private` could not move out of an upload, at any price.

    Each thing gets a name of its own beside the folder that begins with `_`. Where that fails too, its files
    are deleted, or emptied.

    Args:
        output_dir: The trainer's.
        stays: Whether something of this name stays where it is.

    Returns:
        Where things are now, and what was deleted.

    Raises:
        OSError: Something cannot even be emptied.
    """
    public = Path(output_dir) / PUBLIC
    entries = list(public.iterdir())
    found = [path for path in entries if not stays(path.name)]
    kept, deleted = [], []
    for path in [public] if len(found) == len(entries) else found:
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
