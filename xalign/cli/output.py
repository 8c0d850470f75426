"""Where a command prints: tables on stdout, or JSON there and everything else on stderr."""

import json
import math
from typing import Any

import typer
from rich.console import Console, RenderableType


class Output:
    """What a command prints.

    Args:
        as_json: Print numbers as JSON on stdout, and everything else on stderr.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=as_json)

    def say(self, text: str) -> None:
        """Print a line that is no number: what was written, or what the numbers mean."""
        self._console.print(_printable(text), markup=False, highlight=False, soft_wrap=True)

    def show(self, table: RenderableType, content: Any) -> None:
        """Print a table; its content as JSON where that was asked for."""
        if self._as_json:
            typer.echo(_printable(json.dumps(_plain(content), ensure_ascii=False, allow_nan=False, indent=1)))
        else:
            self._console.print(table)


def _printable(text: str) -> str:
    r"""Return text in which what is no Unicode, such as a byte in a file's name, stands as `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(content: Any) -> Any:
    """Return content as JSON can hold it: numbers that are not finite, which JSON does not know, as null."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content
