"""Parallel text in one file: TSV with a language per column, or JSONL with a language per key."""

import json
from pathlib import Path
from typing import Any

from xalign.errors import ArgumentError, PairsError
from xalign.pairs.bitext import Bitext
from xalign.pairs.languages import normalize_languages
from xalign.pairs.lines import read_lines


def read_tsv(path: Path, pivot: str) -> dict[str, Bitext]:
    """Reads a TSV file whose first line names the columns. There is no quoting: a tab always ends a field."""
    lines = read_lines(path)
    if not lines:
        raise PairsError(f"{path} is empty; its first line must name a language per column")
    header = lines[0].split("\t")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise PairsError(f"{path}: the header names {', '.join(repeated)} more than once; rename a column")
    rows = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise PairsError(f"{path}, line {number}: {len(row)} fields where the header has {len(header)}")
    return _bitexts(path, pivot, {name: [row[column] for row in rows] for column, name in enumerate(header)})


def read_jsonl(path: Path, pivot: str) -> dict[str, Bitext]:
    """Reads a JSONL file of objects language -> sentence, flat or under the key `translation`."""
    columns: dict[str, list[Any]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise PairsError(f"{path}, line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise PairsError(
                f"{path}, line {number} must be an object language -> sentence, not {line[:60]!r}"
            )
        if isinstance(row.get("translation"), dict):
            others = sorted(row.keys() - {"translation", "id", "document"})
            if others:
                raise PairsError(
                    f"{path}, line {number}: {', '.join(others)} beside 'translation'; put all languages "
                    "inside it"
                )
            row = row["translation"] | {key: row[key] for key in ("id", "document") if key in row}
        if number > 1 and row.keys() != columns.keys():
            differing = ", ".join(sorted(row.keys() ^ columns.keys()))
            raise PairsError(f"{path}, line {number} has other keys than line 1: {differing}")
        for key, value in row.items():
            named = key in ("id", "document") and isinstance(value, int) and not isinstance(value, bool)
            if not isinstance(value, str) and not named:
                raise PairsError(f"{path}, line {number}: {key!r} must be a string, not {value!r:.60}")
            columns.setdefault(key, []).append(value)
    return _bitexts(path, pivot, columns)


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        raise ValueError(f"a key stands twice among {', '.join(name for name, _ in items)}")
    return found


def _bitexts(path: Path, pivot: str, columns: dict[str, list[Any]]) -> dict[str, Bitext]:
    ids = columns.pop("id", None)
    documents = columns.pop("document", None)
    try:
        codes = normalize_languages(str(path), columns)
    except ArgumentError as error:
        raise PairsError(
            f"{path}: {error}. Its columns are {', '.join(map(repr, columns))}: each takes the code of its "
            "language, beside perhaps 'id' and 'document'"
        ) from None
    texts = dict(zip(codes, columns.values(), strict=True))
    if pivot not in texts:
        raise PairsError(f"{path} has no column for the pivot {pivot}; it has {', '.join(texts) or 'none'}")
    n = len(texts[pivot])
    return {
        code: Bitext(
            code,
            pivot,
            tuple(side),
            tuple(texts[pivot]),
            tuple(str(row) for row in (range(n) if ids is None else ids)),
            None if documents is None else tuple(str(name) for name in documents),
        )
        for code, side in texts.items()
        if code != pivot
    }
