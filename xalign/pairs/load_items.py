"""`load_items`: test items from a folder, from a JSONL file, or from `datasets` objects."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
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
    missing: Literal["refuse", "drop"] = "refuse",
) -> ParallelItems[Any]:
    """Load test items.

    What an item is, is told by the fields of its row: `context` and `options` (and `gold`), `good` and `bad`,
    `sense` and `words`; or those of XStoryCloze, XCOPA, Belebele, CLAMS and BLiMP, as they are published.

    Args:
        source: One of

            - a folder of JSONL files named after their language (`deu_Latn.jsonl`), a row per line;
            - a `.jsonl` file with one object per line that maps languages to rows. The key `id` is optional.
              A line with `words` maps languages to lists of words, as Swadesh lists do;
            - a mapping from languages to `datasets.Dataset` objects, or to any lists of rows.
        languages: Codes of the languages to load, in any spelling; None loads all. The pivot need not be
            named.
        pivot: The language that all others are compared with.
        n: Load the first n items; None loads all.
        connectives: For COPA: language -> the words for a cause and for an effect, beside those that are known.
        missing: What to do with lines that lack a language: `"refuse"`, or `"drop"` them in all languages.

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
    if missing not in ("refuse", "drop"):
        raise ArgumentError(f"missing={missing!r:.40} must be 'refuse' or 'drop'")
    (pivot,) = normalize_languages("pivot", [pivot])
    name, rows = _rows_of(source)
    known = list(rows)
    if match_language(pivot, known) is None:
        raise PairsError(f"{name} has no items of the pivot {pivot}; it has {', '.join(known) or 'none'}")
    if languages is not None:
        there = f"found in {name}; it has {', '.join(known)}"
        wanted = match_languages("languages", [pivot, *languages], known, there)
        rows = {code: rows[code] for code in dict.fromkeys(wanted)}
    rows = _without_gaps(rows, name, missing)
    words = {**CONNECTIVES, **_normal(connectives)}
    sides, aligned = {}, True
    for code, side in rows.items():
        sides[code], is_aligned = _items(code, side, words, name)
        aligned = aligned and is_aligned
    items = ParallelItems(sides, pivot, ids=_ids(rows, name, aligned), source=name, is_aligned=aligned)
    return items if n is None else items.first(n)


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


def _without_gaps(rows: Rows, name: str, missing: str) -> Rows:
    """Refuse or drop lines in which a language has no row, or no words."""

    def is_there(row: Mapping[str, Any]) -> bool:
        return bool(row) and row.get("words", True) not in ([], ())

    gaps = {code: [at for at, row in enumerate(side) if not is_there(row)] for code, side in rows.items()}
    lacking = {code: found for code, found in gaps.items() if found}
    if not lacking:
        return rows
    if missing == "refuse":
        code, found = next(iter(lacking.items()))
        raise PairsError(
            f"{name}: {code} has nothing in {len(found)} line(s), the first of them {found[0] + 1}; leave "
            "the language out, or pass missing='drop' to drop such lines in all languages"
        )
    dropped = {at for found in lacking.values() for at in found}
    return {code: [row for at, row in enumerate(side) if at not in dropped] for code, side in rows.items()}


def _items(code: str, rows: list[Mapping[str, Any]], words: Connectives, name: str) -> tuple[list[Any], bool]:
    """Return the items of a language, and whether their lines are the same in all."""
    made, aligned = [], True
    for number, row in enumerate(rows, start=1):
        place = f"{name}: {code}, line {number}"
        if not isinstance(row, Mapping):
            raise PairsError(f"{place} must be an object, not {type(row).__name__}")
        shape = shape_of(row, place)
        aligned = aligned and shape.is_aligned
        try:
            made.append(shape.make(row, code, words))
        except (
            PairsError,
            ArgumentError,
            ArgumentTypeError,
            KeyError,
            AttributeError,
            TypeError,
            ValueError,
        ) as error:
            raise PairsError(f"{place}: {error}") from None
    return made, aligned


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
