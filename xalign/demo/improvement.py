"""The second half of `xalign demo`: measure a model, align it, steer it, measure again."""

import tempfile
from collections.abc import Mapping
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
from xalign.demo.change import change
from xalign.demo.figures import stages_figures
from xalign.finding.find import find_units
from xalign.finding.mean_difference import mean_difference
from xalign.judging.calibrate import calibrate
from xalign.judging.evaluate import evaluate
from xalign.measurement import measure
from xalign.results.report import AlignmentReport
from xalign.steering.steer import steer
from xalign.training.config import AlignmentConfig
from xalign.training.trainer import with_alignment
from xalign.views.picture import save_picture
from xalign.views.stages import stages_figure, stages_table

STEPS, QUICK_STEPS = 200, 30
METRICS = ["nasca", "mexa", "retrieval"]
LANGUAGE = "deu_Latn"
Stages = dict[str, AlignmentReport]


def improve(console: Console, out: Path, *, seed: int, quick: bool) -> dict[str, Any]:
    """Align the unaligned model that ships with xalign; show a table, a picture, and what they say.

    Args:
        console: Where to print.
        out: Folder for `improvement.png`.
        seed: The same seed gives the same numbers.
        quick: Fewer steps and samples.

    Returns:
        The numbers that were shown.
    """
    steps = QUICK_STEPS if quick else STEPS
    twin = _Twin(*load_babel("unaligned"), seed=seed, quick=quick)
    console.print(
        "\nNow the unaligned twin: measure it, align it for "
        f"{steps} steps while it goes on learning from its own documents, steer it, measure again.\n"
    )
    stages = {"before": twin.look(), "steered": twin.look_steered()}
    training = twin.align(steps)
    for row in training:
        console.print(
            f"step {row['step']}: task loss {row['task_loss']:.2f}, {row['align_accuracy']:.0%} of sentences "
            "find their translation in the batch",
            highlight=False,
        )
    stages |= {"aligned": twin.look(), "both": twin.look_steered()}
    console.print(stages_table(stages))
    save_picture(stages_figure(stages), out / "improvement.png")
    console.print(f"wrote {out / 'improvement.png'}\n", markup=False)
    speech = _speech(twin)
    for sentence in [*_what_one_sees(stages, steps), _on_speech(speech)]:
        console.print(f"- {sentence}", highlight=False)
    return {
        "steps": steps,
        "training": [
            {name: row[name] for name in ("step", "task_loss", "align_accuracy")} for row in training
        ],
        **stages_figures(stages),
        "speech": speech,
        "files": [str(out / "improvement.png")],
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
        self.held_out = write_pairs(100, seed=0, split="held_out")

    def texts(self) -> dict[str, list[str]]:
        """Sentences of every language, from the training pairs."""
        most = 50 if self.quick else 300
        return {code: list(sentences[:most]) for code, sentences in self.pairs.texts.items()}

    def look(self, **options: Any) -> AlignmentReport:
        """Measure the model on the held-out sentences."""
        return measure(self.model, self.tokenizer, self.held_out, METRICS, **WITH_SEPARATOR, **options)

    def look_steered(self) -> AlignmentReport:
        """Measure the model while every language's own mean is subtracted in every block."""
        blocks = [f"{layer}.hidden" for layer in range(self.model.config.num_hidden_layers)]
        fitted = {
            code: [f"{sentence} {SEPARATOR}" for sentence in texts] for code, texts in self.texts().items()
        }
        own = mean_difference(
            self.model, self.tokenizer, fitted, blocks, from_others=False, block_by_block=True
        )
        return self.look(steered=lambda code: steer(self.model, own[code], strength=-1))

    def align(self, steps: int) -> list[dict[str, Any]]:
        """Train the model on its own documents, with an alignment loss beside; return the logged rows."""
        run = Pretraining(
            "unaligned", self.seed + 1, steps=steps, learning_rate=1e-3, warmup_steps=steps // 10
        )
        alignment = AlignmentConfig(
            pairs=cast(Any, self.pairs), held_out=cast(Any, self.held_out), seed=self.seed
        )
        with tempfile.TemporaryDirectory() as scratch:
            trainer = make_trainer(
                run,
                scratch,
                model=self.model,
                trainer_class=partial(with_alignment(Trainer), alignment=alignment),
                logging_steps=max(1, steps // 6),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        self.model.train(False)
        return [row for row in trainer.state.log_history if "align_accuracy" in row]


def _what_one_sees(stages: Stages, steps: int) -> list[str]:
    before, steered, aligned, both = (stages[name] for name in ("before", "steered", "aligned", "both"))
    gain = both.score("nasca") - before.score("nasca")
    worst, lowest = both.worst("nasca")
    return [
        "With each language's mean subtracted in every block, without training, the twin's NASCA "
        f"{change(before, steered, 'nasca')} and its retrieval {change(before, steered, 'retrieval')}.",
        f"After {steps} steps with an alignment loss beside its own task, they are "
        f"{aligned.score('nasca'):.3f} and {aligned.score('retrieval'):.3f}; both together give "
        f"{both.score('nasca'):.3f} and {both.score('retrieval'):.3f}, {gain:+.3f} NASCA (lowest: {worst} "
        f"{lowest:.3f}; chance {both.chance('nasca', worst):.3f}, floor {both.floor('nasca'):.3f}).",
    ]


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
