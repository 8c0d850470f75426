"""The `xalign` command: one verb per file, errors in one line."""

import functools
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xalign.cli.advice import as_typed
from xalign.cli.bench import steer as bench_steer
from xalign.cli.compare import compare
from xalign.cli.confusion import confusion
from xalign.cli.correlate import correlate
from xalign.cli.demo import demo
from xalign.cli.doctor import doctor
from xalign.cli.experts import experts
from xalign.cli.export import export
from xalign.cli.help import HelpfulCommand
from xalign.cli.improve import improve
from xalign.cli.interrupts import CODE, was_interrupted, working
from xalign.cli.items import items
from xalign.cli.latent import latent
from xalign.cli.measure import measure
from xalign.cli.neurons import neurons
from xalign.cli.page import page
from xalign.cli.steer import steer
from xalign.cli.sweep import collect, sweep
from xalign.cli.tokens import tokens
from xalign.cli.track import track
from xalign.errors import XAlignError
from xalign.escape import plain
from xalign.extras import own_version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_bench = typer.Typer(no_args_is_help=True, help="Compare ways to do the same thing, beside controls.")
app.add_typer(_bench, name="bench")


def _verb(function: Callable[..., None], group: typer.Typer = app, name: str | None = None) -> None:
    """Make a function a command whose errors are one line on stderr.

    Exit codes: 0 done, 1 unexpected error (of `doctor`: a measurement would be refused), 2 wrong input, 130
    interrupted.
    """

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        global _options
        _options = list(inspect.signature(function).parameters)
        try:
            with working():
                function(*args, **kwargs)
        except KeyboardInterrupt:
            _fail("interrupted", CODE)
        except typer.Exit:
            raise
        except Exception as error:
            _fail(*_said(error, function.__name__))
        if was_interrupted():  # what there was by then has been shown and written
            _fail("interrupted", CODE)

    group.command(name, cls=HelpfulCommand)(command)


def _said(error: Exception, verb: str) -> tuple[str, int]:
    """Return the line to print for an error, and the exit code."""
    if was_interrupted():  # and something in between made another exception of it
        return "interrupted", CODE
    if isinstance(error, XAlignError):
        return str(error), 2
    return f"{type(error).__name__}: {error} (xalign --debug {verb} … shows where)", 1


def _fail(message: str, code: int) -> None:
    if _debug:
        traceback.print_exc()
    typer.echo(_line(message), err=True)
    raise typer.Exit(code)


def _line(message: Warning | str) -> str:
    """Return a message as it is printed. It may be one of another library."""
    return "xalign: " + "\n".join(map(plain, as_typed(str(message), _options).split("\n")))


_VERBS = (
    *(measure, items, neurons, latent, tokens, compare, correlate, track, page, experts, steer, confusion),
    *(sweep, collect, export, improve, demo, doctor),
)
for function in _VERBS:
    _verb(function)
_verb(bench_steer, _bench, "steer")

_debug = False
_options: list[str] = []  # of the command that runs


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xalign {own_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Measure how well a language model lines its languages up, and improve it."""
    global _debug
    _debug = debug


def main() -> None:
    """Run the `xalign` command."""
    # After a failure, users append --debug to the whole command, where typer does not look for it.
    if "--debug" in sys.argv[2:]:
        sys.argv.remove("--debug")
        sys.argv.insert(1, "--debug")
    warnings.showwarning = _show_warning
    app()


def _show_warning(message: Warning | str, *about: Any, **more: Any) -> None:  # noqa: ARG001
    typer.echo(_line(message), err=True)
