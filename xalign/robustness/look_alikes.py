"""`load_look_alikes`: sentences that look alike and may mean different things, as PAWS-X has them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xalign.errors import ArgumentError, PairsError
from xalign.languages import match_languages, normalize_language
from xalign.pairs.lines import read_lines
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.table import parse_row
from xalign.robustness.perturbations.perturbation import Given, Perturbation

_FIELDS = ("id", "sentence1", "sentence2", "label")


class LookAlikes(NamedTuple):
    """Sentences of several languages, and for each of them another one that looks like it.

    Attributes:
        pairs: The first sentences, each once.
        look_alikes: The kind of change that gives a sentence its look-alike of another meaning. It competes.
        paraphrases: The kind that gives a sentence its paraphrase. It takes the place of the sentence.
    """

    pairs: ParallelPairs[str]
    look_alikes: Perturbation
    paraphrases: Perturbation


def load_look_alikes(
    folder: str | Path, languages: Sequence[str] | None = None, pivot: str = "eng_Latn", n: int | None = None
) -> LookAlikes:
    """Read PAWS-X: pairs of sentences that share nearly all words, of which about half are paraphrases.

    Args:
        folder: Files of one line per pair, with the fields id, sentence1, sentence2 and label (1 for
            paraphrases): `deu_Latn.jsonl`, or a folder of each language with a file `test_2k.tsv`, as
            published. Line i of all files is the same pair.
        languages: Which languages to read; None reads all.
        pivot: The language that others are compared with.
        n: Take the first n.

    Returns:
        The first sentences as pairs, and two kinds of change for `measure_robustness`. Lines whose first
        sentence occurred before are left out, because repeated sentences can never win their row.

    Raises:
        PairsError: Files without these fields, or whose lines are not of the same pairs.
        ArgumentError: No file, or no file of a language.

    Reference:
        Yang et al. (2019), PAWS-X.
    """
    files = _files(Path(folder))
    if not files:
        raise ArgumentError(f"folder={str(folder)!r} holds no file like deu_Latn.jsonl or de/test_2k.tsv")
    pivot = normalize_language(pivot)
    there = f"among the files of {folder}: {', '.join(files)}"
    chosen = list(files) if languages is None else match_languages("languages", languages, files, there)
    if pivot not in files:
        raise ArgumentError(f"pivot={pivot} is not {there}")
    rows = {code: list(_rows(files[code])) for code in dict.fromkeys([pivot, *chosen])}
    _check_parallel(rows, pivot)
    kept = _first_occurrences(rows)[: None if n is None else n]
    first = {code: [found[row]["sentence1"] for row in kept] for code, found in rows.items()}
    ids = [str(rows[pivot][row]["id"]) for row in kept]
    pairs = ParallelPairs(first, pivot, ids=ids, source=str(folder))
    return LookAlikes(pairs, _kind("look_alikes", rows, kept, 0), _kind("paraphrases", rows, kept, 1))


def _kind(name: str, rows: dict[str, list[dict[str, Any]]], kept: Sequence[int], label: int) -> Perturbation:
    second = {
        (code, found[row]["sentence1"]): found[row]["sentence2"]
        for code, found in rows.items()
        for row in kept
        if int(found[row]["label"]) == label
    }

    def change(given: Given) -> str | None:
        return second.get((given.language, given.sentence))

    return Perturbation(name, change, keeps_meaning=bool(label))


def _files(folder: Path) -> dict[str, Path]:
    """Return language -> its file."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        file = path / "test_2k.tsv" if path.is_dir() else path
        if not file.is_file() or file.suffix not in (".jsonl", ".tsv"):
            continue
        try:
            found[normalize_language(path.stem)] = file
        except ArgumentError:  # no language: another file that lies there
            continue
    return found


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    lines = read_lines(file)
    if file.suffix == ".tsv":
        parsed: Iterator[dict[str, Any]] = iter(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    else:
        parsed = (parse_row(f"{file}, line {number}", line) for number, line in enumerate(lines, start=1))
    for number, row in enumerate(parsed, start=1):
        if any(row.get(field) in (None, "") for field in _FIELDS) or str(row["label"]) not in ("0", "1"):
            raise PairsError(f"{file}, pair {number}: it must have {', '.join(_FIELDS)}, and label 0 or 1")
        yield row


def _check_parallel(rows: dict[str, list[dict[str, Any]]], pivot: str) -> None:
    def told(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return [(str(row["id"]), str(row["label"])) for row in found]

    for code, found in rows.items():
        if told(found) != told(rows[pivot]):
            raise PairsError(f"the lines of {code} are not those of {pivot}: ids or labels differ")


def _first_occurrences(rows: dict[str, list[dict[str, Any]]]) -> list[int]:
    """Return the lines whose first sentence occurs in no earlier line, in any language."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for place in range(len(next(iter(rows.values())))):
        own = {(code, found[place]["sentence1"]) for code, found in rows.items()}
        if not own & seen:
            kept.append(place)
        seen |= own
    return kept
