"""Sentences annotated as in Universal Dependencies, read from CoNLL-U."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xalign.errors import PairsError
from xalign.pairs.languages import match_languages, normalize_languages
from xalign.pairs.lines import read_lines

_COLUMNS = 10
_EMPTY = "_"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a sentence, with what is annotated.

    Attributes:
        form: As it stands in the sentence; of a part of a contraction (`dem` in `am`), as it is analysed.
        start: Where its characters begin in the sentence; those of the whole contraction for a part of one.
        end: Where they end.
        upos: Its universal part of speech.
        features: Feature -> value, like `{"Number": "Sing"}`.
        head: The number of the word that it depends on, from 0; −1 of the root.
        relation: How it depends on it, like `nsubj`.
        is_part: Whether it is a part of a contraction, without characters of its own.
    """

    form: str
    start: int
    end: int
    upos: str
    features: Mapping[str, str] = field(default_factory=dict)
    head: int = -1
    relation: str = ""
    is_part: bool = False

    def attribute(self, name: str) -> str | None:
        """Return the value of `upos`, of `relation` or of a feature; None where it has none."""
        known = {"upos": self.upos, "relation": self.relation}
        return known.get(name) or self.features.get(name)


@dataclass(frozen=True, slots=True)
class AnnotatedSentence:
    """A sentence with its words.

    Attributes:
        text: The sentence.
        words: Its words.
        id: Its identifier, empty where there is none.
    """

    text: str
    words: tuple[Word, ...]
    id: str = ""


def load_annotated(
    folder: str | Path, languages: Sequence[str] | None = None
) -> dict[str, tuple[AnnotatedSentence, ...]]:
    r"""Read a folder of CoNLL-U files named after their languages, like `deu_Latn.conllu`.

    Args:
        folder: The folder.
        languages: Codes of the languages to load, in any spelling; None loads all.

    Returns:
        Language -> sentences.

    Raises:
        PairsError: No such file, or one that is no CoNLL-U; the error names file and line.
        ArgumentError: A language that is unknown or not there.

    Example:
        >>> Path("tagged").mkdir()
        >>> row = "\t".join(["1", "Go", "_", "VERB", "_", "Mood=Imp", "0", "root", "_", "_"])
        >>> _ = Path("tagged/en.conllu").write_text(f"# text = Go\n{row}\n\n")
        >>> load_annotated("tagged")["eng_Latn"][0].words[0].attribute("Mood")
        'Imp'
    """
    path = Path(folder).expanduser()
    files = {file.stem: file for file in sorted(path.glob("*.conllu"))} if path.is_dir() else {}
    if not files:
        raise PairsError(
            f"{str(folder)!r:.120} holds no .conllu file; name files after their language: deu_Latn.conllu"
        )
    codes = dict(zip(normalize_languages("files", files), files.values(), strict=True))
    there = f"found in {path.name}; it has {', '.join(codes)}"
    wanted = list(codes) if languages is None else match_languages("languages", languages, list(codes), there)
    return {code: tuple(_sentences(codes[code])) for code in wanted}


def _sentences(file: Path) -> Iterator[AnnotatedSentence]:
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*read_lines(file), ""], start=1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield _sentence(file, block)
            block = []


def _sentence(file: Path, block: Sequence[tuple[int, str]]) -> AnnotatedSentence:
    notes = dict(_note(line) for _, line in block if line.startswith("#"))
    rows = [(number, line.split("\t")) for number, line in block if not line.startswith("#")]
    for number, row in rows:
        if len(row) != _COLUMNS:
            raise PairsError(f"{file}, line {number}: {len(row)} columns; CoNLL-U has {_COLUMNS}, by tabs")
    rows = [(number, row) for number, row in rows if "." not in row[0]]  # empty nodes have no characters
    text = notes.get("text") or _joined(row for _, row in rows)
    words, at = [], 0
    span, last = (0, 0), 0  # of the latest contraction, and the number of its last part
    for number, row in rows:
        is_range = "-" in row[0]
        if is_range or not row[0].isdecimal() or int(row[0]) > last:
            at = text.find(row[1], at)
            if at < 0:
                raise PairsError(f"{file}, line {number}: {row[1]!r:.40} does not follow in {text!r:.60}")
            span, at = (at, at + len(row[1])), at + len(row[1])
        if is_range:
            last = int(row[0].split("-")[1])
        else:
            words.append(_word(file, number, row, span, is_part=int(row[0]) <= last))
    return AnnotatedSentence(text, tuple(words), notes.get("sent_id", ""))


def _note(line: str) -> tuple[str, str]:
    name, _, value = line.lstrip("# ").partition("=")
    return name.strip(), value.strip()


def _word(file: Path, number: int, row: Sequence[str], span: tuple[int, int], *, is_part: bool) -> Word:
    _, form, _, upos, _, features, head, relation, _, _ = row
    pairs = [] if features == _EMPTY else [one.partition("=") for one in features.split("|")]
    if not (head.isdecimal() or head == _EMPTY) or any(not sign for _, sign, _ in pairs):
        raise PairsError(f"{file}, line {number}: head {head!r:.20} or features {features!r:.40} are not UD")
    found = {name: value for name, _, value in pairs}
    above = int(head) - 1 if head.isdecimal() else -1
    return Word(form, *span, upos, found, above, "" if relation == _EMPTY else relation, is_part)


def _joined(rows: Iterator[Sequence[str]]) -> str:
    """Return the sentence that rows spell: parts of contractions are left out."""
    text, last = "", 0
    for row in rows:
        if "-" in row[0]:
            last = int(row[0].split("-")[1])
        elif int(row[0]) <= last:
            continue
        text += row[1] + ("" if "SpaceAfter=No" in row[9] else " ")
    return text.rstrip()
