"""`xalign demo`."""

import logging
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from xalign.cli.options import Json, path, seed_up_to
from xalign.cli.output import Output
from xalign.errors import ArgumentError, MissingExtraError
from xalign.extras import install_command
from xalign.renamed import renamed

INTRODUCTION = (
    "A multilingual model is aligned where a sentence and its translation look alike inside it. This demo "
    "trains a small model in which you see that emerge, and then aligns another one, its twin, that has not "
    "learnt it. The score is NASCA: the share of sentences, between 0 and 1, that are each other's nearest "
    "with their translation."
)
WRITTEN = ("emergence.png", "improvement.png", "improvement.html", "history.jsonl", "report.html")
PARTS = ("emergence", "improvement", "both")


def demo(
    what: Annotated[str, typer.Argument(help="emergence, improvement, or both.")] = "both",
    out: Annotated[Path, typer.Option(parser=path, help="Folder for the pictures and the numbers.")] = Path(
        "xalign-demo"
    ),
    seed: Annotated[
        int,
        typer.Option(
            callback=seed_up_to(2**31),
            help="The same seed gives the same curve on the same type of machine with the same versions.",
        ),
    ] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps: alignment only begins.")] = False,
    json: Json = False,
) -> None:
    """Train a small language model from nothing and watch alignment emerge; then align and steer another.

    The model learns English, Spanish, German, Russian and Chinese from sentences and their translations, on
    one core, in about 10 CPU-minutes (--quick: less than 2). Then its twin, which had other documents and
    does not align, is improved: measured, trained under a closed loop that aligns it, centred and measured
    again, in about 3 (--quick: 1). This needs no
    network and no account. Ctrl-C ends it and keeps what there is. With --json, prints one object with the
    numbers of each half under its name.
    """
    if what not in PARTS:
        raise ArgumentError(f"demo={what!r} is not there; there is: {', '.join(PARTS)}")
    missing = [package for package in ("accelerate", "matplotlib") if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"the demo needs {' and '.join(missing)}: {install_command('demo')}")
    output = Output(json)
    _introduce(output.console, what, quick=quick)  # before the imports, which take seconds
    from xalign.results.saved import check_folder
    from xalign.views.picture import check_replaceable

    folder = check_folder(out, overwrite=True)
    check_replaceable(folder / name for name in WRITTEN)
    import torch
    import transformers

    # Where it is installed, it says that it has no fast kernels for 4 bits, which the demo does not use.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    torch.set_num_threads(1)
    found: dict[str, Any] = {"seed": seed, "quick": quick}
    try:
        with output.no_other_stdout():
            _show(output.console, found, what, out)
    finally:  # an interruption of the second half keeps the numbers of the first
        if found.keys() & PARTS:
            output.show_json(found)


def _show(console: Console, found: dict[str, Any], what: str, out: Path) -> None:
    """Run the halves that are wanted, and note what each found."""
    from xalign.demo import emergence, improvement

    how = {"seed": found["seed"], "quick": found["quick"]}
    if what != "improvement":
        found["emergence"] = emergence.emerge(console, out, **how)
        if found["emergence"]["interrupted"]:
            return
    if what != "emergence":
        started = time.process_time()
        found["improvement"] = improvement.improve(console, out, **how)
        console.print(f"{(time.process_time() - started) / 60:.1f} CPU-minutes")


def _introduce(console: Console, what: str, *, quick: bool) -> None:
    """Say what will be seen and how long it takes, before the first silent minute."""
    minutes = {"emergence": 2 if quick else 10, "improvement": 1 if quick else 3}
    total = sum(minutes.values()) if what == "both" else minutes[what]
    console.print(INTRODUCTION)
    console.print(
        f"This takes about {total} minute{'s' if total > 1 else ''} of one core, and longer on a busy one; "
        "the first numbers come within a minute. Ctrl-C ends it.\n",
        highlight=False,
    )


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
