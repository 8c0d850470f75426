"""`load_pairs`: parallel text from the bundled set, a folder, a TSV or a JSONL file."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.bitext import Bitext
from xalign.pairs.folder import read_folder
from xalign.pairs.languages import normalize_language, normalize_languages
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.table import read_jsonl, read_tsv


def load_pairs(
    source: str | Path = "bundled",
    languages: Sequence[str] | None = None,
    pivot: str = "eng_Latn",
    n: int | None = None,
) -> ParallelPairs:
    """Loads parallel sentences.

    Args:
        source: One of

            - `"bundled"`: 200 sentences in English, Spanish, German, Russian and Chinese, written for xalign;
            - a folder of line-aligned UTF-8 files named like those of FLORES (`deu_Latn.devtest`), NTREX
              (`newstest2019-ref.deu.txt`) or MEXA (`deu_Latn.txt`), or of bitexts in the manner of Tatoeba
              (`eng-deu.eng` beside `eng-deu.deu`, or folders `deu_Latn-eng_Latn/`). Document names are read
              where the source has them (`DOCUMENT_IDS.tsv`, `metadata_devtest.tsv`, `sent_ids.txt`);
            - a `.tsv` file whose first line names a language per column, and perhaps `id` and `document`;
            - a `.jsonl` file with an object per line: language -> sentence, and perhaps `id` and `document`.
        languages: Codes of the languages to take, in any spelling; all where absent. The pivot need not be
            named.
        pivot: The language all others are compared with.
        n: Takes the first n pairs of each language; all where absent.

    Returns:
        The pairs, in the order of `languages` or of the source.

    Raises:
        PairsError: The source does not exist, is empty, is not UTF-8, or its sides do not fit together.
        ArgumentError: A language that is unknown, ambiguous or not in the source.

    Example:
        >>> load_pairs("bundled", languages=["de", "zh-Hans"], n=100)
        ParallelPairs(eng_Latn with deu_Latn, zho_Hans; 100 pairs each)
    """
    if not isinstance(source, str | Path):
        raise ArgumentTypeError(f"source must be 'bundled' or a path, not {source!r:.80}")
    pivot = normalize_language(pivot)
    wanted = None if languages is None else normalize_languages("languages", languages)
    if source == "bundled":
        path, name = Path(str(files("xalign.pairs") / "bundled")), "bundled"
    else:
        try:
            path = Path(source).expanduser()
            path.exists()
        except (OSError, RuntimeError) as error:
            raise PairsError(
                f"source={str(source)!r:.120} is no path that can be read: {error!s:.120}"
            ) from None
        name = path.name
    bitexts = _read(path, pivot)
    if wanted is not None:
        missing = [code for code in wanted if code != pivot and code not in bitexts]
        if missing:
            raise ArgumentError(
                f"languages={', '.join(missing)} not found in {source}; it has {', '.join(bitexts)} beside "
                f"{pivot}"
            )
        bitexts = {code: bitexts[code] for code in wanted if code != pivot}
    if not bitexts:
        raise PairsError(f"{source}: only the pivot {pivot} was asked for or found; add another language")
    if n is not None:
        bitexts = {code: bitext.first(n) for code, bitext in bitexts.items()}
    return ParallelPairs.from_bitexts(bitexts.values(), pivot, source=name)


def _read(path: Path, pivot: str) -> dict[str, Bitext]:
    if path.is_dir():
        return read_folder(path, pivot)
    if not path.exists():
        raise PairsError(
            f"source={str(path)!r} does not exist; give 'bundled', a folder, a .tsv or a .jsonl file"
        )
    if path.suffix == ".tsv":
        return read_tsv(path, pivot)
    if path.suffix == ".jsonl":
        return read_jsonl(path, pivot)
    raise PairsError(f"source={str(path)!r} must be a folder, a .tsv or a .jsonl file")
