"""The first half of `xalign demo`: train a model from nothing while alignment is measured."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, Trainer
from transformers.trainer_callback import PrinterCallback

from xalign.babel.examine import WITH_SEPARATOR, examine
from xalign.babel.models import babel_facts, load_babel
from xalign.babel.pretrain import Pretraining, make_trainer
from xalign.babel.write import write_pairs
from xalign.demo.change import change
from xalign.demo.figures import run_figures
from xalign.demo.live import LiveTable
from xalign.errors import ReportError
from xalign.monitor.callback import AlignmentCallback
from xalign.results.history import NAME, History
from xalign.results.report import AlignmentReport
from xalign.storage import write_whole
from xalign.views.emergence import emergence_figure
from xalign.views.picture import save_picture

STEPS, QUICK_STEPS = 2500, 300
ANY_SHARE = 0.999  # of the time may be measuring: nobody can set `every` here, so no advice to
LOSSES = ("sentence_loss", "translation_loss")
NEAR = 0.1  # losses that differ by less than this share are called nearly the same
Figures = Mapping[str, Any]
"""What `examine` returns of a model, and what the shipped models' facts hold."""


@dataclass(frozen=True)
class _Trained:
    """A run, finished or interrupted."""

    trainer: Trainer
    reports: list[AlignmentReport]
    interrupted: bool


def emerge(console: Console, out: Path, *, seed: int, quick: bool) -> dict[str, Any]:
    """Train a model from nothing while it is measured; draw the curve, and say what it shows.

    Args:
        console: Where to print.
        out: Folder for `emergence.png`, `report.html` and the history.
        seed: The same seed gives the same curve on the same type of machine with the same versions.
        quick: Train for fewer steps.

    Returns:
        The numbers that were shown, and whether the run was interrupted.

    Raises:
        KeyboardInterrupt: Interrupted before there were two measurements to compare.
    """
    started = time.process_time()
    steps = QUICK_STEPS if quick else STEPS
    twin, twin_tokenizer = load_babel("unaligned")
    run = _train(console, out, steps, seed)
    if run.interrupted:
        console.print(f"\ninterrupted at step {run.trainer.state.global_step}; this is what there is")
    model = cast(LlamaForCausalLM, run.trainer.model)
    tokenizer = cast(PreTrainedTokenizerBase, run.trainer.processing_class)
    ours, theirs = examine(model, tokenizer, seeds=0), examine(twin, twin_tokenizer, seeds=0)
    _draw(run, out, theirs)
    console.print(
        f"\nwrote {out / 'emergence.png'}, {out / NAME}, and {out / 'report.html'}, which opens in a browser",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"{(time.process_time() - started) / 60:.1f} CPU-minutes\n")
    transfers = {name: babel_facts(name)["figures"]["transfer"] for name in ("aligned", "unaligned")}
    figures = _figures(run, ours, theirs, transfers)
    for sentence in what_one_sees(run.reports, ours, theirs, transfers):
        console.print(f"- {sentence}", highlight=False)
    if quick:
        console.print(
            f"- This was --quick, {run.trainer.state.global_step} of {STEPS} steps: it shows less, and the "
            "twin has learnt longer.",
            highlight=False,
        )
    files = [str(out / name) for name in ("emergence.png", NAME, "report.html")]
    return figures | {"interrupted": run.interrupted, "steps": steps, "files": files}


def _train(console: Console, out: Path, steps: int, seed: int) -> _Trained:
    """Train a fresh model, show its scores as they come, and keep its history."""
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(Pretraining(steps=steps, seed=seed), scratch)
        trainer.remove_callback(PrinterCallback)
        held_out = write_pairs(100, seed=0, split="held_out")
        callback = AlignmentCallback(
            trainer, held_out, every=steps // 20, max_share=ANY_SHARE, save_reports=False, **WITH_SEPARATOR
        )
        trainer.add_callback(callback)
        interrupted = False
        with LiveTable(console, callback, steps) as table:
            trainer.add_callback(table)
            try:
                trainer.train()
            except KeyboardInterrupt:
                interrupted = True
        if len(callback.reports) < 2:
            raise KeyboardInterrupt
        write_whole(out / NAME, (Path(scratch) / "alignment" / NAME).read_bytes(), ReportError)
    return _Trained(trainer, callback.reports, interrupted)


def _draw(run: _Trained, out: Path, twin: Figures) -> None:
    losses = {int(row["step"]): row["loss"] for row in run.trainer.state.log_history if "loss" in row}
    references = {"unaligned twin, at its end": _mean(twin["nasca"])}
    save_picture(emergence_figure(run.reports, losses, references=references), out / "emergence.png")
    History.load(out).to_html(out / "report.html")


def _figures(
    run: _Trained, ours: Figures, theirs: Figures, transfers: Mapping[str, Sequence[Figures]]
) -> dict[str, Any]:
    """Return the numbers that the table and the sentences say; the arguments are those of `what_one_sees`."""
    names = ("nasca", "nasca_plain", *LOSSES)
    models = {"this": ours, "unaligned": theirs, "aligned": babel_facts("aligned")["figures"]}
    languages = run.reports[-1].languages
    losses = [row["loss"] for row in run.trainer.state.log_history if "loss" in row]
    return {
        "training_loss": losses[-1] if losses else None,
        **run_figures(run.reports, "nasca"),
        "models": {model: {name: dict(found[name]) for name in names} for model, found in models.items()},
        "transfer": {
            "chance": transfers["aligned"][0]["chance"],
            **{model: _zero_shot(results, languages) for model, results in transfers.items()},
        },
    }


def what_one_sees(
    reports: Sequence[AlignmentReport],
    ours: Figures,
    theirs: Figures,
    transfers: Mapping[str, Sequence[Figures]],
) -> list[str]:
    """Say in four sentences what the numbers of a run show, and no more than they show.

    Args:
        reports: The run's reports, in the order of steps.
        ours: What `examine` found of the model that was trained.
        theirs: The same of the unaligned twin.
        transfers: Shipped model -> the results of its transfer task, one per seed.
    """
    first, last = reports[0], reports[-1]
    worst, lowest = last.worst("nasca")
    return [
        f"From step {first.step} to step {last.step}, NASCA with English {change(first, last, 'nasca')} "
        f"(lowest: {worst} {lowest:.3f}), where "
        f"chance is {last.chance('nasca', worst):.3f} and shared tokens alone give "
        f"{last.floor('nasca'):.3f}; the sentences without their separator give "
        f"{_mean(ours['nasca_plain']):.3f}.",
        _on_losses(ours, theirs),
        _on_alignment(last, theirs),
        _on_transfer(transfers, last.languages),
    ]


def _on_losses(ours: Figures, theirs: Figures) -> str:
    """Compare the twin's losses with those of a model that was trained as long."""
    trained_as_long, whose = ours, "this model's"
    if _mean(theirs["sentence_loss"]) < 0.9 * _mean(ours["sentence_loss"]):
        # The run was cut short.
        trained_as_long = babel_facts("aligned")["figures"]
        whose = "that of the shipped aligned model, trained as long"
    pairs = [(_mean(theirs[name]), _mean(trained_as_long[name])) for name in LOSSES]
    is_near = all(abs(its - other) < NEAR * other for its, other in pairs)
    (alone, other_alone), (translated, other_translated) = pairs
    return (
        "The twin learnt from as many translations, but only from and into English, and its loss is "
        f"{'nearly the same as' if is_near else 'beside'} {whose}: {alone:.2f} against {other_alone:.2f} on "
        f"single sentences, {translated:.2f} against {other_translated:.2f} on translations from English."
    )


def _on_alignment(last: AlignmentReport, theirs: Figures) -> str:
    """Say whether NASCA tells the two models apart: in every language, beyond its interval."""
    numbers = f"{last.score('nasca'):.3f} here, {_mean(theirs['nasca']):.3f} there"
    if all((last.interval("nasca", code)[0] or 0) > theirs["nasca"][code] for code in last.languages):
        return f"Yet the twin aligns its languages less, {numbers}: no loss curve shows this, NASCA does."
    return (
        f"NASCA is {numbers}: after {last.step} steps this model is not above the twin in every language, so "
        "this run does not tell them apart."
    )


def _on_transfer(transfers: Mapping[str, Sequence[Figures]], languages: Sequence[str]) -> str:
    """Say how far what the shipped models learn in English reaches the other languages."""
    aligned, unaligned = (_zero_shot(transfers[name], languages) for name in ("aligned", "unaligned"))
    return (
        "How far what is learnt in English reaches the other languages: fine-tuned on English intents, the "
        f"shipped aligned model recognises {aligned:.0%} of them in the others, the twin {unaligned:.0%} "
        f"(chance {transfers['aligned'][0]['chance']:.0%})."
    )


def _zero_shot(results: Sequence[Figures], languages: Sequence[str]) -> float:
    """Return the mean accuracy over languages and seeds."""
    return _mean(
        {
            f"{code} {number}": result["accuracy"][code]
            for number, result in enumerate(results)
            for code in languages
        }
    )


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
