"""A model that was converted once per machine: a folder whose files are checked each time it is used."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

DIGESTS = "sha256.json"


def cache_folder() -> Path:
    """Return the folder that holds converted models; it can be deleted at any time."""
    return Path.home() / ".cache" / "xalign"


def converted(name: str, key: str, convert: Callable[[Path], None], root: Path | None = None) -> Path:
    """Return the folder of a converted model, and convert it where it is missing or damaged.

    Several processes may ask at once: one converts, the others wait. A conversion that is interrupted leaves
    nothing that is taken for a model.

    Args:
        name: Of the folder, with the first twelve digits of the key.
        key: A digest of all that the result depends on: the source and the code that reads it.
        convert: Writes the model into an empty folder.
        root: The folder for all models; by default `cache_folder()`.
    """
    root = root or cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{name}-{key[:12]}"
    with FileLock(f"{folder}.lock"):
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            for left in root.glob(f".{folder.name}-*"):  # of a conversion that was interrupted
                shutil.rmtree(left)
            made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=root))
            convert(made)
            digests = {path.name: _digest(path) for path in sorted(made.iterdir())}
            (made / DIGESTS).write_text(json.dumps(digests, indent=1))
            os.replace(made, folder)
    return folder


def key_of(*parts: str | Path) -> str:
    """Return one digest of several texts and of the content of several files."""
    content = [part.read_bytes() if isinstance(part, Path) else part.encode() for part in parts]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()


def _is_whole(folder: Path) -> bool:
    """Return whether the folder holds exactly the files that were written, with their content."""
    try:
        digests = json.loads((folder / DIGESTS).read_text())
        there = {path.name: _digest(path) for path in folder.iterdir() if path.name != DIGESTS}
    except (OSError, ValueError):
        return False
    return there == digests


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
