"""`load_items`: test items from a folder, from a JSONL file, or from `datasets` objects."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError, XAlignError
from xalign.pairs.item_shapes import CONNECTIVES, Connectives, id_of, shape_of
from xalign.pairs.items import ParallelItems
from xalign.pairs.languages import match_language, match_languages, normalize_languages
from xalign.pairs.lines import read_lines
from xalign.pairs.table import parse_row

Rows = dict[str, list[Mapping[str, Any]]]


def load_items(
    source: str | Path | Mapping[str, Iterable[Mapping[str, Any]]],
    languages: Sequence[str] | None = None,
    pivot: str = "eng_Latn",
    n: int | None = None,
    *,
    connectives: Connectives | None = None,
    unusable: Literal["refuse", "drop"] = "refuse",
) -> ParallelItems[Any]:
    """Load test items.

    The fields of a row decide what kind of item it is: `context` and `options` (and `gold`), `good` and
    `bad`, `sense` and `words`, or those of XStoryCloze, XCOPA, Belebele, CLAMS and BLiMP as published.

    Args:
        source: One of

            - a folder of JSONL files named after their language (`deu_Latn.jsonl`), a row per line;
            - a `.jsonl` file with one object per line that maps languages to rows. The key `id` is optional.
              A line with `words` maps languages to lists of words, as Swadesh lists do;
            - a mapping from languages to `datasets.Dataset` objects, or to any lists of rows.
        languages: Codes of the languages to load, beside the pivot, in any spelling; None loads all.
        pivot: The language that all others are compared with.
        n: Load the first n items; None loads all.
        connectives: For COPA: language -> the words for a cause and an effect, besides the known ones.
        unusable: What to do with lines that lack a language or hold no usable item, such as one with equal
            options: `"refuse"` the source, or `"drop"` these lines in all languages. `source` says which.

    Returns:
        The items, the pivot first.

    Raises:
        PairsError: A source that cannot be read, rows of an unknown form, or items that cannot be used; the
            error names language and line.
        ArgumentError: A language is unknown, ambiguous or not in the source.

    Example:
        >>> rows = [{"good": "he laughs", "bad": "he laugh"}, {"good": "we laugh", "bad": "we laughs"}]
        >>> load_items({"en": rows})
        ParallelItems(eng_Latn; 2 minimal pairs each)
    """
    if unusable not in ("refuse", "drop"):
        raise ArgumentError(f"unusable={unusable!r:.40} must be 'refuse' or 'drop'")
    (pivot,) = normalize_languages("pivot", [pivot])
    name, rows = _rows_of(source)
    rows = _chosen(rows, name, pivot, languages)
    _check_counts(rows, name)
    sides, aligned, errors = _items(rows, {**CONNECTIVES, **_normal(connectives)}, name)
    if errors and unusable == "refuse":
        raise PairsError(
            f"{next(iter(errors.values()))}. Lines of {name} that cannot be used: {len(errors)}; correct "
            "them, or pass unusable='drop' to drop them in all languages"
        )
    if errors:
        name = f"{name} without lines {', '.join(str(at + 1) for at in sorted(errors))}"
    kept = {code: [one for at, one in enumerate(side) if at not in errors] for code, side in sides.items()}
    ids = _ids(rows, name, aligned)
    ids = None if ids is None else [one for at, one in enumerate(ids) if at not in errors]
    items = ParallelItems[Any](kept, pivot, ids=ids, source=name, is_aligned=aligned)
    return items if n is None else items.first(n)


def _chosen(rows: Rows, name: str, pivot: str, languages: Sequence[str] | None) -> Rows:
    """Return the rows of the pivot, and of the languages that are asked for."""
    known = list(rows)
    if match_language(pivot, known) is None:
        raise PairsError(f"{name} has no items of the pivot {pivot}; it has {', '.join(known) or 'none'}")
    if languages is None:
        return rows
    there = f"found in {name}; it has {', '.join(known)}"
    wanted = match_languages("languages", [pivot, *languages], known, there)
    return {code: rows[code] for code in dict.fromkeys(wanted)}


def _normal(connectives: Connectives | None) -> Connectives:
    given = connectives or {}
    codes = normalize_languages("connectives", given)
    return dict(zip(codes, given.values(), strict=True))


def _rows_of(source: Any) -> tuple[str, Rows]:
    """Return the name of a source, and language -> rows."""
    if isinstance(source, Mapping):
        codes = normalize_languages("source", source)
        return "items", {code: list(rows) for code, rows in zip(codes, source.values(), strict=True)}
    if not isinstance(source, str | Path) or not str(source).strip():
        raise ArgumentTypeError(
            f"source={source!r:.60} must be a folder, a .jsonl file, or a mapping from languages to datasets"
        )
    path = Path(source).expanduser()
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.glob("*.jsonl"))}
        if not files:
            raise PairsError(f"{path} holds no .jsonl file; name files after their language: deu_Latn.jsonl")
        codes = normalize_languages("files", files)
        return path.name, {code: _read(file) for code, file in zip(codes, files.values(), strict=True)}
    if path.suffix == ".jsonl" and path.exists():
        return path.name, _by_language(path, _read(path))
    raise PairsError(f"source={str(source)!r:.120} must be a folder or a .jsonl file that exists")


def _read(path: Path) -> list[Mapping[str, Any]]:
    return [
        parse_row(f"{path}, line {number}", line) for number, line in enumerate(read_lines(path), start=1)
    ]


def _by_language(path: Path, lines: list[Mapping[str, Any]]) -> Rows:
    """Turn lines of language -> row into language -> rows; an empty row where a line lacks a language."""
    spread: list[tuple[str | None, dict[str, Any]]] = []
    for number, line in enumerate(lines, start=1):
        given = line["words"] if isinstance(line.get("words"), Mapping) else line
        found = {key: value for key, value in given.items() if key not in ("id", "concept")}
        codes = normalize_languages(f"{path}, line {number}", found)
        sense = str(line.get("sense", line.get("concept", number)))
        own = {
            code: {"sense": sense, "words": row} if given is not line else row
            for code, row in zip(codes, found.values(), strict=True)
        }
        spread.append((id_of(line), own))
    every = dict.fromkeys(code for _, own in spread for code in own)
    return {
        code: [
            {} if not own.get(code) else {**({} if at is None else {"id": at}), **own[code]}
            for at, own in spread
        ]
        for code in every
    }


def _check_counts(rows: Rows, name: str) -> None:
    counts = {code: len(side) for code, side in rows.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{code} {n}" for code, n in counts.items())
        raise PairsError(f"{name} has different numbers of items: {listed}; line i must be item i in all")


def _items(rows: Rows, words: Connectives, name: str) -> tuple[dict[str, list[Any]], bool, dict[int, str]]:
    """Return the items, None where a line cannot be used; whether lines are aligned; and line -> error."""
    sides: dict[str, list[Any]] = {code: [] for code in rows}
    aligned, errors = True, dict[int, str]()
    for code, side in rows.items():
        for at, row in enumerate(side):
            place = f"{name}: {code}, line {at + 1}"
            if not isinstance(row, Mapping):
                raise PairsError(f"{place} must be an object, not {type(row).__name__}")
            if not row:
                errors.setdefault(at, f"{place} has nothing")
            shape = shape_of(row, place) if row else None
            aligned = aligned and (shape is None or shape.is_aligned)
            try:
                sides[code].append(None if shape is None else shape.make(row, code, words))
            except (XAlignError, KeyError, AttributeError, TypeError, ValueError) as error:
                errors.setdefault(at, f"{place}: {error}")
                sides[code].append(None)
    return sides, aligned, errors


def _ids(rows: Rows, name: str, aligned: bool) -> list[str] | None:
    """Return the identifiers of the rows, where every row has one; refuse lines whose identifiers differ."""
    found = {code: [id_of(row) for row in side] for code, side in rows.items()}
    if not aligned or any(one is None for side in found.values() for one in side):
        return None
    (first, ids), *others = found.items()
    for code, side in others:
        for at, (one, other) in enumerate(zip(ids, side, strict=False), start=1):
            if one != other:
                raise PairsError(
                    f"{name}, line {at} is item {one} in {first} and {other} in {code}; sort both alike"
                )
    return [str(one) for one in ids]
