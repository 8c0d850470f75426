"""`load_pairs`: parallel text from the bundled set, files, the Hub or a dataset; speech from folders."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from xalign.checks import whole_number
from xalign.errors import ArgumentTypeError, PairsError
from xalign.languages import language_list
from xalign.pairs.audio_folder import audio_languages, read_audio_folder
from xalign.pairs.bitext import Bitext
from xalign.pairs.dataset import first_pairs, pairs_from_dataset
from xalign.pairs.folder import has_text, read_folder
from xalign.pairs.hub import read_hub
from xalign.pairs.languages import match_languages, normalize_languages
from xalign.pairs.moses import find_bitext, read_bitext
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.tables import KINDS, kind_of, read_table, read_tables, tables_in

_ALLOWED = "'bundled', 'hf:owner/name', a folder, a .tsv, .jsonl or .tmx file, or one side of a bitext"


def load_pairs(
    source: str | Path | Iterable[Mapping[str, Any]] = "bundled",
    languages: Sequence[str] | None = None,
    pivot: str = "eng_Latn",
    n: int | None = None,
) -> ParallelPairs[Any]:
    """Load parallel sentences, written or spoken.

    Args:
        source: One of

            - `"bundled"`: 200 sentences in English, Spanish, German, Russian and Chinese, written for xalign;
            - `"hf:owner/name"`, a data set of the Hugging Face Hub; `"hf:owner/name@revision:config/split"`.
              By default, the split `devtest` of `"hf:openlanguagedata/flores_plus"` is read, and the
              sentences of `test` of `"hf:facebook/bouquet"`;
            - a `Dataset`, `IterableDataset` or `DatasetDict`, in any form that `pairs_from_dataset` supports;
            - a folder of line-aligned UTF-8 files named like those of FLORES (`deu_Latn.devtest`), NTREX
              (`newstest2019-ref.deu.txt`) or MEXA (`deu_Latn.txt`), or of bitexts named like those of
              Tatoeba and OPUS (`corpus.en-de.en` and `corpus.en-de.de`, or folders `deu_Latn-eng_Latn/`).
              Document names are read too (`DOCUMENT_IDS.tsv`, `metadata_devtest.tsv`, `sent_ids.txt`);
            - one bitext of a folder: either of its files, or `corpus.en-de`;
            - a folder of recordings, `deu_Latn/12.wav`: WAV files of one channel; files of one name are the
              same sentence in several languages;
            - a `.tsv` file whose first line names a language per column; `id` and `document` are optional;
            - a `.jsonl` file with an object per line, language to sentence; `id` and `document` are optional;
            - a `.tmx` file. Files whose names end in `.gz` are unpacked as they are read;
            - a folder of such files only, each with languages of its own.
        languages: Codes of the languages to load, in any spelling; None loads all. The pivot need not be
            named. An ambiguous code in the source (`zh`) means the language named here.
        pivot: The language that all others are compared with.
        n: Load the first n pairs of each language; None loads all.

    Returns:
        The pairs, in the order of `languages` or of the source.

    Raises:
        PairsError: The source does not exist, cannot be reached, is empty, is not UTF-8, or has languages of
            unequal length.
        MissingExtraError: `"hf:..."`, and `datasets` (extra `data`) is not installed.
        ArgumentError: A language is unknown, ambiguous or not in the source.

    Example:
        >>> load_pairs("bundled", languages=["de", "zh-Hans"], n=100)
        ParallelPairs(eng_Latn with deu_Latn, zho_Hans; 100 pairs each)
    """
    (pivot,) = normalize_languages("pivot", [pivot])
    languages = None if languages is None else language_list("languages", languages)
    if not isinstance(source, str | Path):
        if not hasattr(source, "column_names"):  # what all objects of `datasets` have
            raise ArgumentTypeError(
                f"source must be 'bundled', 'hf:owner/name', a path or a dataset, not {source!r:.80}"
            )
        return pairs_from_dataset(source, pivot=pivot, languages=languages, n=n)
    if str(source).startswith("hf:"):
        name, bitexts = read_hub(str(source), languages, pivot, n)
        return _made(bitexts, languages, pivot, n, name)
    path = _path_of(source)
    if path.is_dir() and (folders := audio_languages(path)):
        return _load_audio(path, folders, languages, pivot, n)
    return _made(_read(path, languages, pivot), languages, pivot, n, path.name)


def _made(
    bitexts: dict[str, Bitext], languages: Sequence[str] | None, pivot: str, n: int | None, source: str
) -> ParallelPairs[Any]:
    """Make pairs of the bitexts that are asked for."""
    if languages is not None:
        there = f"found in {source}; it has {', '.join(bitexts)} beside {pivot}"
        wanted = match_languages("languages", languages, [*bitexts, pivot], there)
        bitexts = {code: bitexts[code] for code in wanted if code != pivot}
    return ParallelPairs.from_bitexts(first_pairs(bitexts, pivot, n, source), pivot, source=source)


def _load_audio(
    path: Path, folders: dict[str, Path], languages: Sequence[str] | None, pivot: str, n: int | None
) -> ParallelPairs[Any]:
    """Read the languages and recordings that are asked for, and no others: they are large."""
    there = f"found in {path}; it has recordings of {', '.join(folders)}"
    named = folders if languages is None else match_languages("languages", languages, folders, there)
    wanted = [code for code in named if code != pivot]
    if not wanted:
        raise PairsError(f"{path}: only the pivot {pivot} was asked for or found; add another language")
    bitexts = read_audio_folder(folders, pivot, wanted, n if n is None else whole_number("n", n, least=2))
    return ParallelPairs.from_bitexts(bitexts.values(), pivot, source=path.name)


def _path_of(source: str | Path) -> Path:
    if not str(source).strip():
        raise PairsError(f"source={str(source)!r} is empty; give {_ALLOWED}")
    if source == "bundled":
        return Path(str(files("xalign.pairs") / "bundled"))
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        raise PairsError(
            f"source={str(source)!r:.120} is not a path that can be read: {error!s:.120}"
        ) from None
    return path


def _read(path: Path, languages: Sequence[str] | None, pivot: str) -> dict[str, Bitext]:
    asked = () if languages is None else tuple(languages)
    if path.is_dir():
        if (tables := tables_in(path)) and not has_text(path, asked):
            return read_tables(tables, languages, pivot)
        return read_folder(path, pivot, asked)
    if sides := find_bitext(path, asked):
        if pivot not in sides:
            raise PairsError(f"{path} is of {' and '.join(sides)}, not of the pivot {pivot}")
        return read_bitext(sides, pivot)
    if not path.exists():
        raise PairsError(f"source={str(path)!r} does not exist; give {_ALLOWED}")
    if kind_of(path) in KINDS:
        return read_table(path, languages, pivot)
    raise PairsError(f"source={str(path)!r} must be {_ALLOWED}")
