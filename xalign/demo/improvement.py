"""The second half of `xalign demo`: a model is improved in one go, and made to speak a language."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, Trainer
from transformers.trainer_callback import PrinterCallback

from xalign.babel.examine import WITH_SEPARATOR
from xalign.babel.models import load_babel
from xalign.babel.pretrain import Pretraining, make_trainer
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.write import write_pairs
from xalign.demo.figures import stages_figures
from xalign.demo.live import SayDecisions
from xalign.finding.find import find_units
from xalign.improving.improve import improve as improve_with
from xalign.improving.improvement import Improvement
from xalign.judging.calibrate import calibrate
from xalign.judging.evaluate import evaluate
from xalign.training.config import AlignmentConfig
from xalign.training.trainer import with_alignment
from xalign.views.picture import save_picture
from xalign.views.stages import stages_figure

STEPS, QUICK_STEPS = 200, 30
REPORTED, CONTROL = 100, 60  # pairs to report on, and to decide by
METRICS = ["nasca", "mexa", "retrieval"]
LANGUAGE = "deu_Latn"
PAGE = "improvement.html"


def improve(console: Console, out: Path, *, seed: int, quick: bool) -> dict[str, Any]:
    """Improve the unaligned model that ships with xalign; show a table, a picture, a page, and what they say.

    Args:
        console: Where to print.
        out: Folder for `improvement.png` and `improvement.html`.
        seed: The same seed gives the same numbers.
        quick: Fewer steps and samples.

    Returns:
        The numbers that were shown.
    """
    steps = QUICK_STEPS if quick else STEPS
    twin = _Twin(*load_babel("unaligned"), seed=seed, quick=quick)
    console.print(
        f"\nNow the unaligned twin: measure it, train it for {steps} steps on its own documents while a "
        "closed loop aligns it, subtract each language's mean, measure again.\n"
    )
    improvement = twin.improve(steps, out, lambda said: console.print(said, highlight=False))
    console.print(improvement.table())
    save_picture(stages_figure(improvement.stages), out / "improvement.png")
    console.print(f"wrote {out / 'improvement.png'} and {out / PAGE}\n", markup=False)
    speech = _speech(twin)
    for sentence in [*improvement.sentences(), _on_speech(speech)]:
        console.print(f"- {sentence}", highlight=False, markup=False)
    return {
        "steps": steps,
        "decisions": [decision.to_dict() for decision in improvement.decisions],
        **stages_figures(improvement.stages),
        "improvement": improvement.to_dict(),
        "speech": speech,
        "files": [str(out / "improvement.png"), str(out / PAGE)],
    }


@dataclass
class _Twin:
    """The unaligned model, and the text that it is aligned and measured with."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase
    seed: int
    quick: bool

    def __post_init__(self) -> None:
        self.pairs = write_pairs(2000, seed=self.seed, split="train")
        unseen = write_pairs(REPORTED + CONTROL, seed=0, split="held_out")
        self.held_out = unseen.first(REPORTED)
        self.control = unseen.rows(range(REPORTED, REPORTED + CONTROL))

    def texts(self) -> dict[str, list[str]]:
        """Sentences of every language, from the training pairs."""
        most = 50 if self.quick else 300
        return {code: list(sentences[:most]) for code, sentences in self.pairs.texts.items()}

    def improve(self, steps: int, out: Path, say: Callable[[str], None]) -> Improvement:
        """Measure, train on documents under a closed loop, centre, measure; write the page."""
        run = Pretraining(
            "unaligned", self.seed + 1, steps=steps, learning_rate=1e-3, warmup_steps=steps // 10
        )
        alignment = AlignmentConfig(
            pairs=cast(Any, self.pairs),
            template=WITH_SEPARATOR["template"],
            template_pooled=WITH_SEPARATOR["template_pooled"],
            control="loop",
            control_pairs=cast(Any, self.control),
            control_every=max(1, steps // 8),
            max_forgetting=0.05,
            seed=self.seed,
        )
        with tempfile.TemporaryDirectory() as scratch:
            trainer = make_trainer(
                run,
                scratch,
                model=self.model,
                trainer_class=partial(with_alignment(Trainer), alignment=alignment),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(SayDecisions(say))
            improvement = improve_with(trainer, self.held_out, metrics=METRICS, every=max(1, steps // 8))
            improvement.to_html(out / PAGE)
        self.model.train(False)
        return improvement


def _speech(twin: _Twin) -> dict[str, Any]:
    """Find how often the aligned model speaks a language unprompted: steered at the first token, and not.

    Returns:
        The `strength` that was chosen, or None where none would do. With a strength, also the share of
        sentences in the language `before` steering, `after` it, and with as many `random` neurons; and
        `loss_difference`, the loss of the unsteered model on this text minus that on natural text.
    """
    quick = twin.quick
    units = find_units(twin.model, twin.tokenizer, twin.texts(), share=0.04)[LANGUAGE]
    natural = write_pairs(60, seed=1, split="held_out").texts
    stops = [twin.tokenizer.eos_token_id, twin.tokenizer.convert_tokens_to_ids(SEPARATOR)]
    options: dict[str, Any] = {"samples": 20 if quick else 50, "generation": {"eos_token_id": stops}}
    strengths = [6, 10] if quick else [4, 6, 8, 10, 12]
    calibration = calibrate(
        *(twin.model, twin.tokenizer, units, natural),
        strengths=strengths,
        positions=["prompt"],
        max_rise=0.4,
        **options,
    )
    if calibration.chosen[LANGUAGE] is None:
        return {"language": LANGUAGE, "strength": None}
    seeds = 2 if quick else 5
    result = evaluate(
        *(twin.model, twin.tokenizer, units, natural),
        how=calibration,
        seeds=seeds,
        random_sets=1,
        **options,
    )
    share, lost = (result.effect(LANGUAGE, name) for name in ("output_share", "output_loss"))
    return {
        "language": LANGUAGE,
        "strength": calibration(LANGUAGE)["strength"],
        "before": share["before"],
        "after": share["after"],
        "random": share["before"] + share["random"],
        "loss_difference": lost["difference"],
    }


def _on_speech(speech: Mapping[str, Any]) -> str:
    """Say what `_speech` found."""
    if speech["strength"] is None:
        return f"No strength tried makes it speak {LANGUAGE} and stay within .4 nats of natural text."
    harder = "harder" if speech["loss_difference"] > 0 else "easier"
    return (
        f"Without a prompt, {speech['before']:.0%} of its sentences are in {LANGUAGE}. Setting 4 % of its "
        f"neurons to {speech['strength']:g} times their {LANGUAGE} values at the first token makes it "
        f"{speech['after']:.0%}; as many random neurons give {speech['random']:.0%}. The "
        f"unsteered model finds this text {abs(speech['loss_difference']):.2f} nats per token {harder} than "
        "natural text."
    )
