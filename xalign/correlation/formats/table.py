"""Results in a table: CSV or TSV, a score per line."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from xalign.correlation.formats.format import Found
from xalign.correlation.outcome import Identity
from xalign.errors import ArgumentError
from xalign.pairs.lines import read_lines

_WORDS = ("model", "step", "task", "benchmark", "language")
_SCORES = ("score", "value", "accuracy", "acc")


def read_table(file: Path, score: str | None) -> Iterator[Found]:
    """Yield the lines of a table.

    Columns are `score` (or value, accuracy, acc; or the one that `score` names), and `language` or `task`;
    `model` and `step` name the model, and `benchmark` the benchmark. All other numeric columns are kept with
    the score, such as a loss, an overlap, or `data_size`.

    Args:
        file: The table; a TSV if its name ends so.
        score: The column of the scores.

    Raises:
        ArgumentError: No column of scores, none of language or task, or a score that is no number.
    """
    delimiter = "\t" if file.suffix == ".tsv" else ","
    rows = list(csv.reader(read_lines(file), delimiter=delimiter))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    names = [score.lower()] if score is not None else [one for one in _SCORES if one in header]
    if not names or names[0] not in header:
        raise ArgumentError(
            f"{file} has no column {score or 'score'!r}; it has {', '.join(header) or 'none'}: name one, or "
            "say which with score= (--score)"
        )
    if not {"language", "task"} & set(header):
        raise ArgumentError(f"{file} has neither a column 'language' nor 'task'; it has {', '.join(header)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ArgumentError(
                f"{file}, line {number}: {len(row)} fields where the header has {len(header)}"
            )
        yield _entry(f"{file}, line {number}", dict(zip(header, map(str.strip, row), strict=True)), names[0])


def _entry(place: str, row: dict[str, str], score: str) -> Found:
    words = {name: row.get(name) or None for name in _WORDS}
    identity = Identity.of(words["model"])
    if words["step"] is not None:
        step = _number(place, "step", words["step"])
        identity = Identity(identity.model, int(step))
    besides = {name: _maybe(value) for name, value in row.items() if name not in (*_WORDS, score)}
    return Found(
        identity=identity,
        task=words["task"] or words["benchmark"] or "score",
        scores={score: _number(place, score, row[score])},
        language=words["language"],
        benchmark=words["benchmark"] or (None if words["language"] is None else words["task"] or "score"),
        besides={name: value for name, value in besides.items() if value is not None},
    )


def _number(place: str, name: str, text: str) -> float:
    value = _maybe(text)
    if value is None:
        raise ArgumentError(f"{place}: {name}={text!r:.40} must be a finite number")
    return value


def _maybe(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
