"""Bitexts in two files, as Moses and OPUS have them: `corpus.en-de.en` beside `corpus.en-de.de`."""

import re
from collections.abc import Sequence
from pathlib import Path

from xalign.errors import ArgumentError, PairsError
from xalign.languages import meanings_of
from xalign.pairs.bitext import Bitext
from xalign.pairs.lines import read_lines
from xalign.pairs.spellings import settled_language

_NAME = re.compile(r"(?P<corpus>[\w.-]+\.)?(?P<a>\w+)-(?P<b>\w+)(?:\.(?P<side>\w+?)(?:\.txt)?(?:\.gz)?)?")


def bitext_files(folder: Path, asked: Sequence[str]) -> dict[tuple[str, str, str], dict[str, Path]]:
    """Return the files of each bitext in a folder: (corpus, language, language) -> language -> file.

    Args:
        folder: The folder.
        asked: The languages that were asked for, in any spelling. They decide what an ambiguous code (`zh`)
            means.

    Raises:
        PairsError: A bitext has one side only, or a language twice, or its code may mean several languages.
    """
    halves: dict[tuple[str, str, str], dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() or (codes := _codes_of(path, asked)) is None:
            continue
        corpus, a, b, side = codes
        if other := halves.setdefault((corpus, a, b), {}).setdefault(side, path):
            _check_same(path, other)
    for found in halves.values():
        if len(found) != 2:  # noqa: PLR2004
            raise PairsError(
                f"{folder}: {next(iter(found.values())).name} has no other side; add the file of its other "
                "language"
            )
    return halves


def read_bitext(paths: dict[str, Path], pivot: str) -> dict[str, Bitext[str]]:
    """Read the two files of one bitext.

    Args:
        paths: Language -> file, of two languages, one of them the pivot.
        pivot: Code of the pivot language.

    Raises:
        PairsError: A file cannot be read, or has more lines than the other; the error says from which line.
    """
    (code,) = paths.keys() - {pivot}
    pivot_side, side = tuple(read_lines(paths[pivot])), tuple(read_lines(paths[code]))
    if len(pivot_side) != len(side):
        longer = max((len(pivot_side), pivot), (len(side), code))[1]
        raise PairsError(
            f"{paths[pivot].parent}: {paths[pivot].name} has {len(pivot_side)} lines and {paths[code].name} "
            f"{len(side)}; line i of one must translate line i of the other, and line "
            f"{min(len(pivot_side), len(side)) + 1} of {paths[longer].name} has no partner"
        )
    ids = tuple(str(row) for row in range(len(side)))
    return {code: Bitext(code, pivot, side, pivot_side, ids)}


def find_bitext(path: Path, asked: Sequence[str]) -> dict[str, Path] | None:
    """Return language -> file of one bitext, given one of its files or what their names begin with.

    Args:
        path: `corpus.en-de.en`, `corpus.en-de.de` or `corpus.en-de`, packed or not.
        asked: The languages that were asked for, in any spelling.

    Returns:
        The files; None where the path is not named like a bitext, or no file of it is there.

    Raises:
        PairsError: The other side is not there, or a code may mean several languages.
    """
    match = _NAME.fullmatch(path.name)
    if match is None or not path.parent.is_dir():
        return None
    prefix = f"{match['corpus'] or ''}{match['a']}-{match['b']}"
    inside = [one for one in sorted(path.parent.iterdir()) if one.name.startswith(f"{prefix}.")]
    files: dict[str, Path] = {}
    for one in inside:
        codes = _codes_of(one, asked)
        if codes is not None and codes[0] == (match["corpus"] or ""):
            _check_same(one, files.setdefault(codes[3], one))
    if len(files) == 1:
        (found,) = files.values()
        raise PairsError(f"{found} has no other side; add the file of its other language")
    return files or None


def _codes_of(path: Path, asked: Sequence[str]) -> tuple[str, str, str, str] | None:
    """Return the corpus, both languages and that of the file; None where it is no side of a bitext."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["side"] is None or not all(meanings_of(match[group]) for group in "ab"):
        return None
    if not set(meanings_of(match["side"])) & {*meanings_of(match["a"]), *meanings_of(match["b"])}:
        return None
    try:
        a, b, side = (settled_language(match[group], asked) for group in ("a", "b", "side"))
    except ArgumentError as error:
        if asked and not set(asked) & {match["a"], match["b"]}:  # other languages are asked for
            return None
        raise PairsError(f"{path}: {error}") from None
    return (match["corpus"] or "", a, b, side) if side in (a, b) else None


def _check_same(path: Path, other: Path) -> None:
    """Refuse two files for one side, such as one packed and one not."""
    if path != other:
        raise PairsError(f"{path} and {other.name} are the same side of one bitext; move one of them away")
