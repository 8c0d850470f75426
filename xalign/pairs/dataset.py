"""`pairs_from_dataset`: parallel text or speech from a `datasets` object."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.languages import meanings_of
from xalign.pairs.audio import Audio
from xalign.pairs.bitext import Bitext
from xalign.pairs.dataset_forms import Named, Table, entries, read_table, read_tables
from xalign.pairs.joined import Unjoined
from xalign.pairs.languages import normalize_languages
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.spellings import chosen_spellings
from xalign.pairs.wav import read_wav


def pairs_from_dataset(
    dataset: Iterable[Mapping[str, Any]] | Mapping[str, Any],
    columns: Mapping[str, str] | None = None,
    pivot: str = "eng_Latn",
    *,
    languages: Sequence[str] | None = None,
    n: int | None = None,
    id_column: str | None = None,
    document_column: str | None = None,
    language_column: str | None = None,
    text_column: str | None = None,
    source: str | None = None,
) -> ParallelPairs[Any]:
    """Read parallel text or speech from a `Dataset`, `IterableDataset` or `DatasetDict`, or a list of rows.

    Without `columns`, the languages are found by the names of the columns. There are four forms:

    - a column per language (`deu_Latn`, `de`, `sentence_deu_Latn`, `text_de`), or one `translation` of all;
    - a row per sentence, whose language is in a column `language`, `lang`, `language_code`, `lang_code` or
      `locale`, or in `iso_639_3` and `iso_15924`, with a column `text` or `sentence`;
    - a row per source and target: `src_lang`, `src_text`, `tgt_lang`, `tgt_text`;
    - a `DatasetDict` with a split per language.

    In the last three, rows with the same `uniq_id`, `id`, `sentence_id`, `sent_id` or `segment_id` are the
    same sentence. `split` keeps rows of one `document`, `document_id`, `doc_id`, `par_id` or `url` together.

    Args:
        dataset: The dataset, or any list of rows that map columns to values. An audio value is what
            `datasets` gives: a decoder of torchcodec; a mapping with `array` and `sampling_rate`; or, of a
            column that is not decoded, one with `bytes` or `path`, which must then be WAV.
        columns: Language code -> its column, the pivot included. Recordings are read only if named here.
        pivot: The language that all others are compared with.
        languages: Codes of the languages to load, in any spelling; None loads all.
        n: Load the first n pairs of each language; None loads all.
        id_column: A column of identifiers; None takes one with a name listed above, or the row numbers.
        document_column: A column that names documents; None takes one with a name listed above.
        language_column: The column that names the language of each row.
        text_column: The column of sentences beside it.
        source: Where the pairs come from, for provenance.

    Raises:
        PairsError: The languages are not found, or the sentences cannot be used.
        ArgumentError: A column or language that is not there, or a recording that cannot be used.
        ArgumentTypeError: A value is neither text nor audio.

    Example:
        >>> rows = [{"en": "Good morning.", "de": "Guten Morgen."}, {"en": "It rains.", "de": "Es regnet."}]
        >>> pairs_from_dataset(rows)
        ParallelPairs(eng_Latn with deu_Latn; 2 pairs each)
    """
    (pivot,) = normalize_languages("pivot", [pivot])
    named = Named(id_column, document_column, language_column, text_column)
    name = source or "the dataset"
    if columns is None:
        bitexts = read_dataset(dataset, languages, pivot, n, name, named)
    elif language_column or text_column:
        raise ArgumentError("give columns=, or language_column= and text_column=, not both")
    else:
        bitexts = _read_columns(Table(one_split(dataset, name), name), columns, languages, pivot, n, named)
    return ParallelPairs.from_bitexts(first_pairs(bitexts, pivot, n, name), pivot, source=source)


def first_pairs(
    bitexts: Mapping[str, Bitext[Any]], pivot: str, n: int | None, place: str
) -> list[Bitext[Any]]:
    """Return the first n pairs of each bitext; all where n is None.

    Raises:
        PairsError: There is no bitext, or one has fewer pairs.
    """
    if not bitexts:
        raise PairsError(f"{place}: only the pivot {pivot} was asked for or found; add another language")
    return [bitext if n is None else bitext.first(n) for bitext in bitexts.values()]


def read_dataset(
    dataset: Any,
    languages: Sequence[str] | None,
    pivot: str,
    n: int | None,
    place: str,
    named: Named | None = None,
) -> dict[str, Bitext[Any]]:
    """Find the languages of a dataset and read them; see `pairs_from_dataset`.

    Args:
        dataset: The dataset.
        languages: The languages asked for; None for all.
        pivot: Code of the pivot language.
        n: How many pairs are needed; None reads all.
        place: What error messages call the dataset.
        named: The columns that the user names.

    Returns:
        Language code -> bitext, without the pivot.

    Raises:
        PairsError, ArgumentError, ArgumentTypeError: As `pairs_from_dataset`.
    """
    named = named or Named()
    most = None if n is None else whole_number("n", n, least=2)
    if isinstance(dataset, Mapping) and is_by_language(dataset):
        chosen = chosen_spellings(dataset, languages, pivot, place)
        tables = {name: Table(dataset[name], f"{place}, {name}") for name in chosen.values()}
        return read_tables(tables, named, place).join(languages, pivot)
    return read_table(Table(one_split(dataset, place), place), named, most).join(languages, pivot)


def is_by_language(names: Iterable[str]) -> bool:
    """Return whether two or more names, all but `default`, are languages, and not all pairs (`de-en`).

    Example:
        >>> is_by_language(["default", "de", "en"]), is_by_language(["de-en", "en-fr"])
        (True, False)
    """
    own = [name for name in names if name != "default"]
    pairs = [
        name for name in own if len(parts := re.split("[-_]", name)) == 2 and all(map(meanings_of, parts))
    ]  # noqa: PLR2004
    return len(own) > 1 and all(map(meanings_of, own)) and pairs != own


def one_split(dataset: Any, place: str) -> Any:
    """Return the only split of a `DatasetDict`; return any other object as it is.

    Raises:
        PairsError: It has several splits, or none.
    """
    if not isinstance(dataset, Mapping):
        return dataset
    if len(dataset) != 1:
        raise PairsError(
            f"{place} has the splits {', '.join(map(str, dataset)) or 'none'}; choose one, like "
            "dataset['test']"
        )
    return next(iter(dataset.values()))


def _read_columns(
    table: Table,
    columns: Mapping[str, str],
    languages: Sequence[str] | None,
    pivot: str,
    n: int | None,
    named: Named,
) -> dict[str, Bitext[Any]]:
    """Read the columns that a user names."""
    if not isinstance(columns, Mapping):
        raise ArgumentTypeError(f"columns={columns!r:.60} must map language codes to names of columns")
    codes = normalize_languages("columns", columns)
    found = Unjoined(table.place)
    for entry in entries(table, named, columns.values(), found, by_row=True, most=n):
        is_text = all(isinstance(entry.values[column], str | None) for column in columns.values())
        for code, column in zip(codes, columns.values(), strict=True):
            try:
                value = entry.values[column] if is_text else _audio_of(entry.values[column])
                found.add(code, entry.key, value, entry.number)
            except (ArgumentError, ArgumentTypeError, PairsError) as error:
                raise type(error)(f"row {entry.number} of column {column!r}: {error}") from None
    return found.join(languages, pivot)


def _audio_of(value: Any) -> Audio:
    """Return a recording in any of the forms in which `datasets` gives one."""
    if isinstance(value, Audio):
        return value
    if hasattr(value, "get_all_samples"):  # a decoder of torchcodec; its data are [channel, sample]
        decoded = value.get_all_samples()
        return Audio(decoded.data.T, int(decoded.sample_rate))
    if isinstance(value, Mapping) and value.get("array") is not None:
        return Audio(value["array"], value["sampling_rate"])
    if isinstance(value, Mapping) and value.get("bytes") is not None:
        return Audio(*read_wav(io.BytesIO(value["bytes"]), "the recording"))
    if isinstance(value, Mapping) and value.get("path") is not None:
        return Audio.from_file(Path(value["path"]))
    raise ArgumentTypeError(
        f"a value of type {type(value).__name__} is no audio; cast the column with "
        "dataset.cast_column(name, datasets.Audio())"
    )
