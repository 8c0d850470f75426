"""`xalign demo`: alignment emerges in one small model, and is put into another."""

import shutil
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from xalign.errors import ArgumentError, MissingExtraError

if TYPE_CHECKING:
    from xalign.results.report import AlignmentReport

STEPS, QUICK_STEPS = 2500, 300


def demo(
    what: Annotated[str, typer.Argument(help="emergence, improvement, or both.")] = "both",
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the numbers.")] = Path("xalign-demo"),
    seed: Annotated[int, typer.Option(help="Same seed, same curve.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps: alignment only begins.")] = False,
) -> None:
    """Train a small language model from nothing and watch alignment emerge; then align and steer another.

    The model learns English, Spanish, German, Russian and Chinese from sentences and their translations, on
    one core, in about 10 CPU-minutes (--quick: less than 2); then its twin, which had other documents and
    does not align, is measured, aligned, steered and measured again, in about 3 (1). It needs no network and
    no account. Ctrl-C ends it with what it has.
    """
    if what not in ("emergence", "improvement", "both"):
        raise ArgumentError(f"demo={what!r} is not there; there is: emergence, improvement, both")
    missing = [package for package in ("accelerate", "matplotlib") if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"the demo needs {' and '.join(missing)}: pip install 'xalign[train,plot]'")
    from xalign.results.saved import check_folder

    check_folder(out, overwrite=True)
    import torch
    import transformers

    console = Console()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    finished = what == "improvement" or _emerge(console, out, seed=seed, quick=quick)
    if finished and what != "emergence":
        from xalign.cli.improvement import improve

        started = time.process_time()
        improve(console, out, seed=seed, quick=quick)
        console.print(f"{(time.process_time() - started) / 60:.1f} CPU-minutes")


def _emerge(console: Console, out: Path, *, seed: int, quick: bool) -> bool:
    """Trains a model from nothing while it is measured; draws and says what one sees.

    Returns:
        Whether it was not interrupted.
    """
    from transformers.trainer_callback import PrinterCallback

    from xalign.babel.examine import WITH_SEPARATOR, examine
    from xalign.babel.models import babel_facts, load_babel
    from xalign.babel.pretrain import Pretraining, make_trainer
    from xalign.babel.write import write_pairs
    from xalign.cli.live import LiveTable
    from xalign.monitor.callback import AlignmentCallback
    from xalign.results.history import NAME, History
    from xalign.views.emergence import emergence_figure

    started = time.process_time()
    steps = QUICK_STEPS if quick else STEPS
    twin, twin_tokenizer = load_babel("unaligned")
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(Pretraining(steps=steps, seed=seed), scratch)
        trainer.remove_callback(PrinterCallback)
        held_out = write_pairs(100, seed=0, split="held_out")
        callback = AlignmentCallback(
            trainer, held_out, every=steps // 20, save_reports=False, **WITH_SEPARATOR
        )
        trainer.add_callback(callback)
        interrupted = False
        with LiveTable(console, callback, steps) as table:
            trainer.add_callback(table)
            try:
                trainer.train()
            except KeyboardInterrupt:
                interrupted = True
        reports = callback.reports
        if len(reports) < 2:
            raise KeyboardInterrupt
        shutil.copy(Path(scratch) / "alignment" / NAME, out)
    if interrupted:
        console.print(f"\ninterrupted at step {trainer.state.global_step}; this is what there is")
    losses = {int(row["step"]): row["loss"] for row in trainer.state.log_history if "loss" in row}
    ours = examine(cast(Any, trainer.model), cast(Any, trainer.processing_class), seeds=0)
    theirs = examine(twin, twin_tokenizer, seeds=0)
    figure = emergence_figure(
        reports, losses, references={"unaligned twin, at its end": _mean(theirs["nasca"])}
    )
    figure.savefig(out / "emergence.png")
    History.load(out).to_html(out / "report.html")
    console.print(
        f"\nwrote {out / 'emergence.png'}, {out / NAME}, and {out / 'report.html'}, which opens in a browser",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"{(time.process_time() - started) / 60:.1f} CPU-minutes\n")
    transfers = {name: babel_facts(name)["figures"]["transfer"] for name in ("aligned", "unaligned")}
    for sentence in what_one_sees(reports, ours, theirs, transfers):
        console.print(f"- {sentence}", highlight=False)
    if quick:
        console.print(
            f"- This was --quick, {steps} of {STEPS} steps: it shows less, and the twin has learnt longer.",
            highlight=False,
        )
    return not interrupted


def what_one_sees(
    reports: "list[AlignmentReport]",
    ours: dict[str, Any],
    theirs: dict[str, Any],
    transfers: dict[str, list[dict[str, Any]]],
) -> list[str]:
    """Four sentences made from the numbers of a run."""
    first, last = reports[0], reports[-1]
    as_long = ours
    whose = ""
    if _mean(theirs["sentence_loss"]) < 0.9 * _mean(ours["sentence_loss"]):
        # A run cut short is no match for the twin; the shipped model was trained as long.
        from xalign.babel.models import babel_facts

        as_long = babel_facts("aligned")["figures"]
        whose = " as that of the shipped aligned model, trained as long"
    zero_shot = {
        name: _mean(
            {
                f"{code} {number}": result["accuracy"][code]
                for number, result in enumerate(results)
                for code in last.languages
            }
        )
        for name, results in transfers.items()
    }
    worst, lowest = last.worst("nasca")
    return [
        f"From step {first.step} to step {last.step}, NASCA with English rose from "
        f"{first.score('nasca'):.3f} to {last.score('nasca'):.3f} (lowest: {worst} {lowest:.3f}), where "
        f"chance is {last.chance('nasca', worst):.3f} and shared tokens alone give "
        f"{last.floor('nasca'):.3f}; the sentences without their separator give "
        f"{_mean(ours['nasca_plain']):.3f}.",
        "The twin learnt from as many translations, but only from and into English, and its loss is nearly "
        f"the same{whose}: {_mean(theirs['sentence_loss']):.2f} against "
        f"{_mean(as_long['sentence_loss']):.2f} on single sentences, "
        f"{_mean(theirs['translation_loss']):.2f} against {_mean(as_long['translation_loss']):.2f} on "
        "translations from English.",
        f"Yet it hardly aligns its languages, {_mean(theirs['nasca']):.3f}: no loss curve shows this, NASCA "
        "does.",
        "Nor does what it learns in English reach the other languages: fine-tuned on English intents, the "
        f"shipped aligned model recognises {zero_shot['aligned']:.0%} of them in the others, the twin "
        f"{zero_shot['unaligned']:.0%} (chance {transfers['aligned'][0]['chance']:.0%}).",
    ]


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
