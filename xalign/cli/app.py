"""The `xalign` command: one verb per file, errors in one line."""

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import click
import typer

from xalign.cli.compare import compare
from xalign.cli.demo import demo
from xalign.cli.doctor import doctor
from xalign.cli.measure import measure
from xalign.errors import XAlignError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(measure)
app.command()(compare)
app.command()(demo)
app.command()(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xalign {version('xalign')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Measure how well a language model lines its languages up, and improve it."""


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 unexpected error, 2 wrong input, 130 interrupted."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted; nothing was written", 130, debug)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written", 130, debug)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except XAlignError as error:
        _fail(str(error), 2, debug)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}; --debug shows where", 1, debug)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    typer.echo(f"xalign: {message}", err=True)
    sys.exit(code)
