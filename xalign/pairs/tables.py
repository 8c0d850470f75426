"""Read parallel text from a file that holds sentences in all languages, or from a folder of such files."""

from collections.abc import Sequence
from pathlib import Path

from xalign.errors import PairsError
from xalign.pairs.bitext import Bitext
from xalign.pairs.folder import is_named_like_text
from xalign.pairs.table import read_jsonl, read_tsv
from xalign.pairs.tmx import read_tmx

KINDS = (".tsv", ".jsonl", ".tmx")


def kind_of(path: Path) -> str:
    """Return the ending of a file, without that of packing."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def read_table(path: Path, languages: Sequence[str] | None, pivot: str) -> dict[str, Bitext]:
    """Read one file, of a kind in `KINDS`.

    Args:
        path: The file.
        languages: The languages that were asked for; None for all.
        pivot: Code of the pivot language.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError: The file is broken, or lacks the pivot.
    """
    if kind_of(path) == ".tmx":
        return read_tmx(path, languages, pivot)
    read = read_tsv if kind_of(path) == ".tsv" else read_jsonl
    return read(path, pivot, tuple(languages or ()))


def tables_in(folder: Path) -> list[Path]:
    """Return the files of such a kind in a folder, by name."""
    return [path for path in sorted(folder.iterdir()) if kind_of(path) in KINDS and is_named_like_text(path)]


def read_tables(paths: Sequence[Path], languages: Sequence[str] | None, pivot: str) -> dict[str, Bitext]:
    """Read several files, each with languages of its own beside the pivot.

    Args:
        paths: The files, at least one.
        languages: The languages that were asked for; None for all.
        pivot: Code of the pivot language.

    Returns:
        Language code -> bitext, in the order of the files.

    Raises:
        PairsError: A file is broken or lacks the pivot, or two hold the same language.
    """
    found: dict[str, Bitext] = {}
    source: dict[str, Path] = {}
    for path in paths:
        for code, bitext in read_table(path, languages, pivot).items():
            if code in found:
                raise PairsError(
                    f"{path.parent}: {source[code].name} and {path.name} both hold {code}; join them, or "
                    "move one to another folder"
                )
            found[code], source[code] = bitext, path
    return found
