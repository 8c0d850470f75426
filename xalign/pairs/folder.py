"""Read parallel text from a folder of line-aligned files, named as in FLORES, NTREX, MEXA or Tatoeba."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xalign.errors import ArgumentError, PairsError
from xalign.pairs.bitext import Bitext
from xalign.pairs.lines import read_lines
from xalign.pairs.moses import bitext_files, read_bitext
from xalign.pairs.spellings import settled_language, variants_of
from xalign.warn import warn

_NTREX = re.compile(r"newstest2019-(?:src|ref(?:-\d+)?)\.(?P<code>[A-Za-z_-]+)\.txt")
_PLAIN = re.compile(r"(?P<code>[A-Za-z_-]+)\.(?:txt|dev|devtest|test)(?:\.gz)?")
_NOT_TEXT = re.compile(r"(?i)(readme|licen[cs]e|metadata|document_ids|sent_ids).*|.*\.(md|py|sh|json)")
_PUD_ID = re.compile(r"[nw]\d{8}")


def read_folder(folder: Path, pivot: str, asked: Sequence[str] = ()) -> dict[str, Bitext]:
    """Read line-aligned files: one per language (n-way), or one per side of each bitext.

    Args:
        folder: The folder.
        pivot: Code of the pivot language.
        asked: The languages that were asked for. They decide what an ambiguous code in a file name (`zh`)
            means.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError: No file name contains a language, the pivot has no file, or line counts differ.
    """
    sides: dict[frozenset[str], dict[str, Path]] = {}
    for a, path_a, b, path_b in _bitext_files(folder, asked):
        if other := sides.get(frozenset((a, b))):
            raise PairsError(
                f"{folder}: {path_a.name} and {other[a].name} are both of {a} with {b}; move one bitext "
                "to another folder"
            )
        sides[frozenset((a, b))] = {a: path_a, b: path_b}
    if sides and len(_language_files(folder, asked, tells=False)) > 1:
        raise PairsError(
            f"{folder} holds both files per language and bitexts; move one kind into a folder of its own"
        )
    if sides:
        return _read_bitexts(folder, pivot, sides)
    return _read_languages(folder, pivot, asked)


def has_text(folder: Path, asked: Sequence[str] = ()) -> bool:
    """Return whether a folder holds files that are named like parallel text."""
    files = _language_files(folder, asked, tells=False)
    return bool(files) or next(_bitext_files(folder, asked), None) is not None


def is_named_like_text(path: Path) -> bool:
    """Return whether a file may hold sentences, by its name: not a licence or a list of documents."""
    return not path.is_dir() and not path.name.startswith(".") and not _NOT_TEXT.fullmatch(path.name)


def _read_languages(folder: Path, pivot: str, asked: Sequence[str]) -> dict[str, Bitext]:
    paths = _language_files(folder, asked)
    if not paths:
        raise PairsError(
            f"{folder} holds no file that is named like parallel text; name the files after their language, "
            "like deu_Latn.txt, or give a .tsv, .jsonl or .tmx file"
        )
    if pivot not in paths:
        raise PairsError(f"{folder} has no file for the pivot {pivot}; it has {', '.join(paths)}")
    texts = {code: tuple(read_lines(path)) for code, path in paths.items()}
    n = len(texts[pivot])
    unequal = {code: len(side) for code, side in texts.items() if len(side) != n}
    if unequal:
        counts = ", ".join(f"{paths[code].name} {count}" for code, count in unequal.items())
        raise PairsError(
            f"{folder}: {paths[pivot].name} has {n} lines, but {counts}; line i of every file must "
            "translate the same sentence"
        )
    ids = _sentence_ids(folder, n)
    documents = _documents(folder, n, ids)
    rows = ids if ids is not None else tuple(str(row) for row in range(n))
    return {
        code: Bitext(code, pivot, side, texts[pivot], rows, documents)
        for code, side in texts.items()
        if code != pivot
    }


def _read_bitexts(
    folder: Path, pivot: str, sides: dict[frozenset[str], dict[str, Path]]
) -> dict[str, Bitext]:
    bitexts: dict[str, Bitext] = {}
    for pair, paths in sides.items():
        if pivot in pair:
            bitexts |= read_bitext(paths, pivot)
    if not bitexts:
        raise PairsError(
            f"{folder} has no bitext with the pivot {pivot}; it has "
            f"{', '.join('-'.join(sorted(p)) for p in sides)}"
        )
    return bitexts


def _bitext_files(folder: Path, asked: Sequence[str]) -> Iterator[tuple[str, Path, str, Path]]:
    """Yield the two sides of each bitext: `eng-deu.eng` and `eng-deu.deu`, or a folder of two files."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.count("-") == 1:
            a, b = (_language(part, asked) for part in path.name.split("-"))
            inside = _language_files(path, asked) if a and b else {}
            if a in inside and b in inside:
                yield a, inside[a], b, inside[b]
    for (_, a, b), found in bitext_files(folder, asked).items():
        yield a, found[a], b, found[b]


def _language_files(folder: Path, asked: Sequence[str], *, tells: bool = True) -> dict[str, Path]:
    """Return language -> its file. `por.txt` is preferred to `por-BR.txt`; two other files are refused.

    It tells of files that are not read, unless it is only asked which there are.
    """
    found: dict[str, list[tuple[int, Path]]] = {}
    ignored = []
    for path in sorted(folder.iterdir()):
        if not is_named_like_text(path):
            continue
        match = _NTREX.fullmatch(path.name) or _PLAIN.fullmatch(path.name)
        code = _language(match["code"], asked) if match else None
        if match is None or code is None:
            ignored.append(path.name)
        else:
            regions = variants_of(match["code"]) + ("ref-" in path.name)
            found.setdefault(code, []).append((regions, path))
    if tells and found and ignored:
        warn(
            f"{folder}: no language in the name of "
            f"{', '.join(ignored[:5])}{' …' if len(ignored) > 5 else ''}; these files are not read"
        )
    chosen = {}
    for code, claims in found.items():
        claims.sort()
        if len(claims) > 1 and claims[0][0] == claims[1][0]:
            names = " and ".join(path.name for _, path in claims[:2])
            raise PairsError(f"{folder}: {names} are both {code}; move one of them to another folder")
        chosen[code] = claims[0][1]
    return chosen


def _language(name: str, asked: Sequence[str]) -> str | None:
    try:
        return settled_language(name, asked)
    except ArgumentError:
        return None


def _sentence_ids(folder: Path, n: int) -> tuple[str, ...] | None:
    return _column(folder, ["sent_ids.txt"], n)


def _documents(folder: Path, n: int, ids: Sequence[str] | None) -> tuple[str, ...] | None:
    if ids is not None and all(_PUD_ID.fullmatch(name) for name in ids):
        return tuple(name[:-3] for name in ids)
    names = [
        "document_ids.txt",
        "DOCUMENT_IDS.tsv",
        "metadata_devtest.tsv",
        "metadata_dev.tsv",
        "metadata.txt",
    ]
    return _column(folder, names, n)


def _column(folder: Path, names: Sequence[str], n: int) -> tuple[str, ...] | None:
    """Return the first field of each line of the first of these files, in the folder or its parent."""
    for place in (folder, folder.parent):
        for path in (place / name for name in names):
            if not path.is_file():
                continue
            fields = [re.split(r"\t| \| ", line)[0] for line in read_lines(path)]
            if fields and fields[0] == "URL":
                del fields[0]
            if len(fields) == n:
                return tuple(fields)
            if place == folder:
                raise PairsError(f"{path} has {len(fields)} lines, but the text has {n}")
    return None
