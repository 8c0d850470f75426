"""`read_results`: downstream scores, from files of evaluation harnesses or a table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xalign.correlation.formats import FORMATS, Found, read_table
from xalign.correlation.outcome import LeftOut, Outcome
from xalign.correlation.tasks import task_of
from xalign.errors import ArgumentError, XAlignError

_TABLES = (".csv", ".tsv")
_JSON = (".json", ".jsonl")


@dataclass(frozen=True)
class Results:
    """What was read.

    Attributes:
        outcomes: The scores.
        left_out: What was not used, with the reason.
    """

    outcomes: Sequence[Outcome]
    left_out: Sequence[LeftOut]


def read_results(
    path: str | Path, *, score: str | None = None, tasks: Mapping[str, str] | None = None
) -> Results:
    """Read downstream scores.

    Args:
        path: A file, or a folder that is searched: results of lm-evaluation-harness or lighteval, records of
            Every Eval Ever (also one per line), or a CSV or TSV table.
        score: The score to use if a task has several, such as `acc_norm`. None uses `acc`, or the only one
            there is.
        tasks: Task name -> language, for tasks whose name does not tell it.

    Returns:
        The scores, and every entry that was left out with its reason: a task without a language, parts of a
        benchmark, several scores of which none was chosen.

    Raises:
        ArgumentError: Nothing there, a single file of an unknown shape, or a broken table.

    Example:
        >>> lines = ["language,score", "de,.5", "fr,.6"]
        >>> _ = Path("scores.csv").write_text(chr(10).join(lines))
        >>> [(one.language, one.value) for one in read_results("scores.csv").outcomes]
        [('deu_Latn', 0.5), ('fra_Latn', 0.6)]
    """
    path = Path(path)
    if not path.exists():
        raise ArgumentError(f"results={str(path)!r} does not exist; give a results file or a folder of them")
    files = _files(path)
    outcomes: list[Outcome] = []
    left_out: list[LeftOut] = []
    for file in files:
        try:
            found = list(_found(file, score))
        except XAlignError as reason:
            if path.is_file():
                raise ArgumentError(str(reason)) from None
            left_out.append(LeftOut(file.name, str(reason), str(file)))
            continue
        for one in found:
            entry = _understood(one, score, tasks, str(file))
            (outcomes if isinstance(entry, Outcome) else left_out).append(entry)  # type: ignore[arg-type]
    return Results(tuple(outcomes), tuple(left_out))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_file() and one.suffix in (*_TABLES, *_JSON))


def _found(file: Path, score: str | None) -> Iterator[Found]:
    if file.suffix in _TABLES:
        yield from read_table(file, score)
        return
    for content in _contents(file):
        kinds = [kind for kind in FORMATS if kind.is_of(content)]
        if len(kinds) != 1:
            names = ", ".join(kind.name for kind in FORMATS)
            raise ArgumentError(f"{file} is of no shape that is known ({names}, or a .csv of scores)")
        yield from kinds[0].entries(content)


def _contents(file: Path) -> Iterator[Any]:
    """Yield the objects of a file. Harnesses write NaN too, which strict JSON has not."""
    try:
        text = file.read_text(encoding="utf-8")
        lines = text.splitlines() if file.suffix == ".jsonl" else [text]
        for content in (json.loads(line) for line in lines if line.strip()):
            yield from content if isinstance(content, list) else [content]
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{file} is no JSON: {error!s:.80}") from None


def _understood(
    found: Found, score: str | None, tasks: Mapping[str, str] | None, source: str
) -> Outcome | LeftOut:
    """Return an entry as a score of a language, or why it is none."""
    chosen, reason = _chosen(found.scores, score)
    if chosen is None:
        return LeftOut(found.task, reason, source)
    task = task_of(found.task, tasks)
    benchmark, language = found.benchmark, found.language
    if language is not None:
        read = task_of(f"belebele_{language}")  # any spelling of a code
        if read is None:
            return LeftOut(found.task, f"language {language!r} is unknown", source)
        benchmark, language = benchmark or (found.task if task is None else task.benchmark), read.language
    elif task is None:
        return LeftOut(found.task, "its name tells no language that is known", source)
    elif task.part is not None:
        return LeftOut(found.task, f"a part of {task.benchmark}: its whole is used", source)
    else:
        benchmark, language = benchmark or task.benchmark, task.language
    value, besides = found.scores[chosen], found.besides or {}
    return Outcome(found.identity, str(benchmark), language, value, found.task, source, besides)


def _chosen(scores: Mapping[str, float], score: str | None) -> tuple[str | None, str]:
    if score is not None and score in scores:
        return score, ""
    if score is not None and len(scores) != 1:
        return None, f"has no {score}; it has {', '.join(scores) or 'no score'}"
    if score is None and "acc" in scores:
        return "acc", ""
    if len(scores) == 1:
        return next(iter(scores)), ""
    return None, f"has {', '.join(scores) or 'no score'}; choose one with score= (--score)"
