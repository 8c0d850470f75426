"""Where a command prints: tables on stdout, or JSON there and everything else on stderr."""

import json
import math
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any

import typer
from rich.console import Console, RenderableType


class Output:
    """What a command prints.

    Args:
        as_json: Print numbers as JSON on stdout, and everything else on stderr.

    Attributes:
        as_json: Whether numbers are printed as JSON.
        console: Where everything that is not JSON is printed.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json)

    def say(self, text: str) -> None:
        """Print a line that is no number: what was written, or what the numbers mean."""
        self.console.print(_printable(text), markup=False, highlight=False, soft_wrap=True)

    def show(self, table: RenderableType, content: Any) -> None:
        """Print a table; its content as JSON where that was asked for."""
        if not self.as_json:
            self.console.print(table)
        self.show_json(content)

    def show_json(self, content: Any) -> None:
        """Print numbers as JSON where that was asked for; the console has shown them to a reader."""
        if self.as_json:
            typer.echo(_printable(json.dumps(_plain(content), ensure_ascii=False, allow_nan=False, indent=1)))

    def no_other_stdout(self) -> AbstractContextManager[Any]:
        """Keep stdout for JSON: what others print there, such as a trainer's callbacks, goes to stderr."""
        return redirect_stdout(sys.stderr) if self.as_json else nullcontext()


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
