"""Read parallel text from one file: TSV with a language per column, or JSONL with a language per key."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xalign.errors import ArgumentError, PairsError
from xalign.languages import meanings_of
from xalign.pairs.bitext import Bitext, without_text
from xalign.pairs.languages import normalize_languages
from xalign.pairs.lines import read_lines
from xalign.pairs.spellings import settled_language

# Columns that are not languages.
_NAMES = ("id", "document")
_LONGEST_NAME = 24


def read_tsv(path: Path, pivot: str, asked: Sequence[str] = ()) -> dict[str, Bitext]:
    """Read a TSV file whose first line names the columns. There is no quoting: a tab always ends a field.

    Args:
        path: The file.
        pivot: Code of the pivot language.
        asked: The languages that were asked for: what an ambiguous code (`zh`) means.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError: The file is empty or broken, or has no column for the pivot.
    """
    lines = read_lines(path)
    if not lines:
        raise PairsError(f"{path} is empty; its first line must name a language per column")
    header = lines[0].split("\t")
    if not all(map(_may_be_a_code, header)):  # do not quote what may be a sentence
        raise PairsError(
            f"{path}: the first line holds text; put a line above it with the language code of each column, "
            "such as 'eng_Latn<tab>deu_Latn'"
        )
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise PairsError(f"{path}: the header names {', '.join(repeated)} more than once; rename a column")
    rows = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise PairsError(f"{path}, line {number}: {len(row)} fields where the header has {len(header)}")
    return _bitexts(
        path, pivot, asked, {name: [row[column] for row in rows] for column, name in enumerate(header)}
    )


def _may_be_a_code(name: str) -> bool:
    return name.isascii() and len(name) <= _LONGEST_NAME and len(name.split()) <= 1


def read_jsonl(path: Path, pivot: str, asked: Sequence[str] = ()) -> dict[str, Bitext]:
    """Read a JSONL file of objects language -> sentence, flat or under the key `translation`.

    Args:
        path: The file.
        pivot: Code of the pivot language.
        asked: The languages that were asked for: what an ambiguous code (`zh`) means.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError: A line is broken or has other keys than the first, or no key is the pivot.
    """
    columns: dict[str, list[str | int]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        row = _row(f"{path}, line {number}", line)
        if number > 1 and row.keys() != columns.keys():
            differing = ", ".join(sorted(row.keys() ^ columns.keys()))
            raise PairsError(f"{path}, line {number} has other keys than line 1: {differing}")
        for key, value in row.items():
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if not isinstance(value, str) and not (is_number and key in _NAMES):
                raise PairsError(
                    f"{path}, line {number}: {key!r} must be a string, not {without_text(value)}"
                )
            columns.setdefault(key, []).append(value)
    return _bitexts(path, pivot, asked, columns)


def parse_row(place: str, line: str) -> dict[str, Any]:
    """Parse one line of JSONL.

    Raises:
        PairsError: It is not valid JSON, has a key twice, or is no object.
    """
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise PairsError(f"{place} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise PairsError(f"{place} must be an object, with a value per key, not {type(row).__name__}")
    return row


def _row(place: str, line: str) -> dict[str, Any]:
    """Parse one line of JSONL, and lift the languages out of `translation`."""
    row = parse_row(place, line)
    if not isinstance(row.get("translation"), dict):
        return row
    others = sorted(row.keys() - {"translation", *_NAMES})
    if others:
        raise PairsError(f"{place}: {', '.join(others)} beside 'translation'; put all languages inside it")
    found: dict[str, Any] = row["translation"] | {key: row[key] for key in _NAMES if key in row}
    return found


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object a dict; `json` itself would silently keep the last of two equal keys."""
    found = dict(items)
    if len(found) < len(items):
        raise ValueError(f"a key occurs twice among {', '.join(name for name, _ in items)}")
    return found


def _bitexts(
    path: Path, pivot: str, asked: Sequence[str], columns: Mapping[str, Sequence[str | int]]
) -> dict[str, Bitext]:
    sides = {name: [str(text) for text in column] for name, column in columns.items()}
    ids, documents = (sides.pop(name, None) for name in _NAMES)
    try:
        clear = [settled_language(name, asked) if len(meanings_of(name)) > 1 else name for name in sides]
        codes = normalize_languages("columns", clear)
    except ArgumentError as error:
        raise PairsError(
            f"{path}: {error}. Its columns are {', '.join(map(repr, sides))}: name each by its language "
            "code; only 'id' and 'document' are not languages"
        ) from None
    texts = dict(zip(codes, sides.values(), strict=True))
    if pivot not in texts:
        raise PairsError(f"{path} has no column for the pivot {pivot}; it has {', '.join(texts) or 'none'}")
    rows = tuple(str(row) for row in range(len(texts[pivot]))) if ids is None else tuple(ids)
    return {
        code: Bitext(
            code,
            pivot,
            tuple(side),
            tuple(texts[pivot]),
            rows,
            None if documents is None else tuple(documents),
        )
        for code, side in texts.items()
        if code != pivot
    }
