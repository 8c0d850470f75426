"""The forms in which a dataset holds its languages, recognised by the names of its columns."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.languages import meanings_of
from xalign.pairs.joined import Unjoined

# Names of columns, as published data sets have them; the first that is there is taken.
IDS = ("uniq_id", "id", "sentence_id", "sent_id", "segment_id")
DOCUMENTS = ("document", "document_id", "doc_id", "par_id", "url", "URL")
LANGUAGES = ("language", "lang", "language_code", "lang_code", "locale")
ISO = ("iso_639_3", "iso_15924")
TEXTS = ("text", "sentence")
TWO_SIDED = ("src_lang", "src_text", "tgt_lang", "tgt_text")
PREFIXES = ("", "sentence_", "text_")
_TO_TELL = (
    "Name what holds the languages: pairs_from_dataset(dataset, {'en': 'column', ...}), or with "
    "language_column= and text_column="
)


@dataclass(frozen=True)
class Named:
    """The columns that a user names; None for those to be found by their usual names.

    Attributes:
        id: Column of identifiers.
        document: Column of names of documents.
        language: Column of language codes.
        text: Column of sentences.
    """

    id: str | None = None
    document: str | None = None
    language: str | None = None
    text: str | None = None


class Table:
    """The rows of a `datasets` object, or of any list of mappings, and the names of its columns.

    Args:
        dataset: The rows.
        place: What error messages call it.
    """

    def __init__(self, dataset: Iterable[Mapping[str, Any]], place: str) -> None:
        if isinstance(dataset, str | bytes | Mapping) or not isinstance(dataset, Iterable):
            raise ArgumentTypeError(
                f"{place} must be a datasets.Dataset or a list of rows, not {type(dataset).__name__}"
            )
        self.place = place
        self._dataset = dataset if hasattr(dataset, "select_columns") else list(dataset)
        names = getattr(dataset, "column_names", None)
        self.first = next(iter(self._dataset), None) if names is None else None
        if names is None and not isinstance(self.first, Mapping):
            what = "is empty" if self.first is None else f"has rows of type {type(self.first).__name__}"
            raise PairsError(f"{place} {what}; it must have rows that map columns to values")
        self.names: list[str] = list(self.first or {} if names is None else names)

    def rows(
        self, columns: Iterable[str], most: int | None = None
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield number and values of the first rows; no other columns are decoded.

        Raises:
            ArgumentError: A column is not there.
        """
        wanted = list(dict.fromkeys(columns))
        self.check(wanted)
        select: Callable[[list[str]], Any] | None = getattr(self._dataset, "select_columns", None)
        rows = self._dataset if select is None else select(wanted)
        for number, row in enumerate(islice(rows, most)):
            if missing := [name for name in wanted if name not in row]:
                raise PairsError(f"{self.place}, row {number} has no {', '.join(missing)}")
            yield number, row

    def check(self, columns: Iterable[str | None]) -> None:
        """Refuse columns that are not there."""
        for name in columns:
            if name is not None and name not in self.names:
                raise ArgumentError(f"{self.place} has no column {name!r}; it has {', '.join(self.names)}")

    def one_of(self, given: str | None, known: Sequence[str]) -> str | None:
        """Return a column: the one that is given, or the first of the known ones that is there."""
        self.check([given])
        return given or next((name for name in known if name in self.names), None)

    def only_of(self, given: str | None, known: Sequence[str]) -> str | None:
        """Return a column as `one_of` does; None where several of the known ones are there."""
        found = [name for name in known if name in self.names]
        return self.one_of(given, found) if given or len(found) == 1 else None

    def unreadable(self, why: str) -> PairsError:
        """Return the error for a table whose languages are not found."""
        return PairsError(f"{self.place}: {why}; its columns are {', '.join(self.names)}. {_TO_TELL}")


def read_table(table: Table, named: Named, most: int | None) -> Unjoined:
    """Read the languages of one table, in the one form that it has.

    Args:
        table: The table.
        named: The columns that the user names.
        most: How many rows to read where each row has all languages; None reads all.

    Raises:
        PairsError: It has none of the forms, or several.
        ArgumentError: A column that is named is not there.
    """
    table.check([named.id, named.document, named.language, named.text])
    if named.language is not None:
        return _read_language_column(table, named, (named.language,))
    # Each form with the columns that tell of it.
    forms: list[tuple[Sequence[str], Callable[[], Unjoined]]] = []
    language = ISO if set(ISO) <= set(table.names) else tuple(filter(None, [table.only_of(None, LANGUAGES)]))
    if language and table.only_of(named.text, TEXTS):
        forms.append((language, lambda: _read_language_column(table, named, language)))
    if set(TWO_SIDED) <= set(table.names):
        forms.append((TWO_SIDED, lambda: _read_two_sided(table, named)))
    if "translation" in table.names:
        forms.append((["translation"], lambda: _read_translation(table, named, most)))
    if columns := _language_columns(table):
        forms.append((list(columns.values()), lambda: _read_columns(table, named, columns, most)))
    if len(forms) > 1:
        told = " and by ".join(", ".join(columns[:5]) for columns, _ in forms)
        raise table.unreadable(f"its languages could be told by {told}")
    if not forms:
        raise table.unreadable("no column names languages or is named after one")
    return forms[0][1]()


def read_tables(tables: Mapping[str, Table], named: Named, place: str) -> Unjoined:
    """Read a table per language, joined over their identifiers, or over row numbers where there are none.

    Raises:
        PairsError: A table without sentences; tables without identifiers and of unequal length.
    """
    found = Unjoined(place)
    counts = {}
    for spelling, table in tables.items():
        text = table.only_of(named.text, TEXTS)
        if text is None:
            raise table.unreadable("no single column of it holds the sentences")
        counts[spelling] = 0
        for row in entries(table, named, [text], found):
            counts[spelling] += 1
            found.add(spelling, row.key, row.values[text], row.number)
    if not found.ids and len(set(counts.values())) > 1:
        listed = ", ".join(f"{spelling} {count}" for spelling, count in counts.items())
        raise PairsError(
            f"{place} has no column of identifiers and different numbers of rows: {listed}. Row i of all "
            "must be the same sentence; or name the column with pairs_from_dataset(dataset, id_column=...)"
        )
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: the key that it is joined by, its number, and its values.

    Attributes:
        key: Its identifier, or its number.
        number: Its number from 0.
        values: Column -> value.
    """

    key: str | int
    number: int
    values: Mapping[str, Any]


def entries(
    table: Table,
    named: Named,
    columns: Iterable[str],
    found: Unjoined,
    *,
    by_row: bool = False,
    most: int | None = None,
) -> Iterator[Entry]:
    """Yield the rows with the key that they are joined by, and note their identifiers and documents."""
    identifier = table.one_of(named.id, IDS)
    document = table.one_of(named.document, DOCUMENTS)
    extra = [name for name in (identifier, document) if name is not None]
    for number, values in table.rows(chain(columns, extra), most):
        name = None if identifier is None else str(values[identifier])
        if identifier is not None and values[identifier] is None:
            raise PairsError(f"{table.place}, row {number}: the identifier in column {identifier!r} is empty")
        key = number if by_row or name is None else name
        if name is not None:
            found.ids[key] = name
        if document is not None and values[document] is not None:
            found.documents.setdefault(key, str(values[document]))
        yield Entry(key, number, values)


def _read_language_column(table: Table, named: Named, language: Sequence[str]) -> Unjoined:
    """Read rows of one sentence each, with a column that names its language, or one more for its script."""
    text = table.only_of(named.text, TEXTS)
    if text is None:
        raise table.unreadable(
            f"{', '.join(language)} names languages, but no single column holds the sentences"
        )
    _need_identifiers(table, named)
    found = Unjoined(table.place)
    for row in entries(table, named, [*language, text], found):
        found.add(_spelling(row, language, table), row.key, row.values[text], row.number)
    return found


def _read_two_sided(table: Table, named: Named) -> Unjoined:
    """Read rows of a source and a target sentence, each with its language, as BOUQuET has them."""
    _need_identifiers(table, named)
    found = Unjoined(table.place)
    for row in entries(table, named, TWO_SIDED, found):
        for side in (TWO_SIDED[:2], TWO_SIDED[2:]):
            found.add(_spelling(row, side[:1], table), row.key, row.values[side[1]], row.number)
    return found


def _need_identifiers(table: Table, named: Named) -> None:
    if table.one_of(named.id, IDS) is None:
        raise PairsError(
            f"{table.place}: no column says which rows are the same sentence; its columns are "
            f"{', '.join(table.names)}. Name it with pairs_from_dataset(dataset, id_column=...)"
        )


def _spelling(row: Entry, columns: Sequence[str], table: Table) -> str:
    values = [row.values[name] for name in columns]
    if not all(isinstance(value, str) and value for value in values):
        raise PairsError(f"{table.place}, row {row.number}: {', '.join(columns)} must name a language")
    return "_".join(values)


def _read_translation(table: Table, named: Named, most: int | None) -> Unjoined:
    """Read rows of mappings language -> sentence, or of a list of languages and one of sentences."""
    found = Unjoined(table.place)
    for row in entries(table, named, ["translation"], found, by_row=True, most=most):
        value = row.values["translation"]
        if not isinstance(value, Mapping):
            raise PairsError(
                f"{table.place}, row {row.number}: 'translation' must map languages to sentences, not be a "
                f"{type(value).__name__}"
            )
        listed = value.keys() == {"language", "translation"}
        for spelling, text in (
            zip(value["language"], value["translation"], strict=True) if listed else value.items()
        ):
            found.add(spelling, row.key, text, row.number)
    return found


def _language_columns(table: Table) -> dict[str, str]:
    """Return spelling -> column, of columns of text that are named after a language, the prefix left out."""
    for prefix in PREFIXES:
        named = {
            name.removeprefix(prefix): name
            for name in table.names
            if name not in (*IDS, *DOCUMENTS)
            and name.startswith(prefix)
            and meanings_of(name.removeprefix(prefix))
        }
        if not named:
            continue
        first = next(table.rows(named.values(), 1), None)
        if first is None:
            raise PairsError(f"{table.place} is empty; it must have rows")
        texts = {spelling: name for spelling, name in named.items() if isinstance(first[1][name], str | None)}
        if len(texts) > 1:
            return texts
    return {}


def _read_columns(table: Table, named: Named, columns: Mapping[str, str], most: int | None) -> Unjoined:
    """Read rows of a sentence in each language."""
    found = Unjoined(table.place)
    for row in entries(table, named, columns.values(), found, by_row=True, most=most):
        for spelling, name in columns.items():
            found.add(spelling, row.key, row.values[name], row.number)
    return found
