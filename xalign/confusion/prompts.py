"""Read prompts, or existing answers, from a file with a JSON object on each line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from xalign.confusion.answers import Prompt
from xalign.confusion.rates import Answer
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.schema import read_json

_LANGUAGE, _ANSWER, _PROMPT = ("language", "target"), ("answer", "completion"), ("prompt",)
Row = dict[str, Any]
T = TypeVar("T")


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts from a `.jsonl` file.

    Args:
        path: A file in UTF-8. Each line is an object with `prompt`, `language` (or `target`, as in the
            Language Confusion Benchmark), and optionally `source`; other keys are ignored.

    Raises:
        ArgumentError: The file is not there, is empty, or holds a line that is no such object; the message
            says which.

    Example:
        >>> from pathlib import Path
        >>> line = '{"prompt": "Wie wird das Wetter?", "language": "de"}'
        >>> _ = Path("prompts.jsonl").write_text(line, encoding="utf-8")
        >>> read_prompts("prompts.jsonl")
        [Prompt(text='Wie wird das Wetter?', language='deu_Latn', source='')]
    """
    return _read(path, lambda row: Prompt(_value(row, _PROMPT), _value(row, _LANGUAGE), _source(row)))


def read_answers(path: str | Path) -> list[Answer]:
    """Read answers from a `.jsonl` file.

    Args:
        path: A file in UTF-8. Each line is an object with `answer` (or `completion`), `language` (or
            `target`), and optionally `source`; other keys are ignored. An answer may be empty.

    Raises:
        ArgumentError: As for `read_prompts`, and a line without an answer.

    Example:
        >>> from pathlib import Path
        >>> line = '{"completion": "Sonnig.", "target": "deu_Latn", "source": "mine"}'
        >>> _ = Path("answers.jsonl").write_text(line, encoding="utf-8")
        >>> read_answers("answers.jsonl")
        [Answer(text='Sonnig.', language='deu_Latn', source='mine')]
    """
    return _read(path, lambda row: Answer(_value(row, _ANSWER), _value(row, _LANGUAGE), _source(row)))


def _read(path: str | Path, make: Callable[[Row], T]) -> list[T]:
    """Return what is made of each line."""
    found = []
    for number, line in _lines(Path(path)):
        try:
            row = read_json(line)
            if not isinstance(row, dict):
                raise ArgumentError(f"it is {type(row).__name__}, not an object")
            found.append(make(row))
        except (ArgumentError, ArgumentTypeError) as error:
            raise ArgumentError(f"line {number} of {str(path)!r:.200}: {error}") from None
    if not found:
        raise ArgumentError(f"{str(path)!r:.200} is empty; it needs a JSON object on each line")
    return found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1.

    Raises:
        ArgumentError: The file cannot be read.
    """
    if not path.is_file():
        kind = "is no regular file" if path.exists() else "does not exist"
        raise ArgumentError(f"{str(path)!r:.200} {kind}; give a .jsonl file")
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ArgumentError(f"{str(path)!r:.200} cannot be read: {error}") from None
    yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _value(row: Row, keys: tuple[str, ...]) -> Any:
    """Return the value of the first key that is there; text is checked by what is made of it."""
    value = next((row[key] for key in keys if row.get(key) is not None), None)
    if value is None:
        raise ArgumentError(f"it has no {keys[0]!r}; it has {', '.join(map(repr, row)) or 'nothing'}")
    return value


def _source(row: Row) -> Any:
    return row.get("source", "")
