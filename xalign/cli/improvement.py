"""The second half of `xalign demo`: measure a model, align it, steer it, measure again."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.console import Console

STEPS, QUICK_STEPS = 200, 30
METRICS = ["nasca", "mexa", "retrieval"]
LANGUAGE = "deu_Latn"


def improve(console: Console, out: Path, *, seed: int, quick: bool) -> None:
    """Lifts the unaligned model that ships with xalign: a table, a picture, and what one sees.

    Args:
        console: Where to print.
        out: Folder for `improvement.png`.
        seed: Same seed, same numbers.
        quick: Fewer steps and samples.
    """
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    from xalign.babel.examine import WITH_SEPARATOR
    from xalign.babel.models import load_babel
    from xalign.babel.pretrain import Pretraining, make_trainer
    from xalign.babel.tokenizer import SEPARATOR
    from xalign.babel.write import write_pairs
    from xalign.finding.mean_difference import mean_difference
    from xalign.measurement import measure
    from xalign.steering.steer import steer
    from xalign.training.config import AlignmentConfig
    from xalign.training.trainer import with_alignment
    from xalign.views.stages import stages_figure, stages_table

    steps = QUICK_STEPS if quick else STEPS
    model, tokenizer = load_babel("unaligned")
    pairs, held_out = write_pairs(2000, seed=seed, split="train"), write_pairs(100, seed=0, split="held_out")
    look = partial(measure, model, tokenizer, held_out, METRICS, **WITH_SEPARATOR)
    blocks = [f"{layer}.hidden" for layer in range(model.config.num_hidden_layers)]
    fitted = {
        code: [f"{sentence} {SEPARATOR}" for sentence in sentences[: 50 if quick else 300]]
        for code, sentences in pairs.texts.items()
    }

    def steered() -> Any:
        own = mean_difference(model, tokenizer, fitted, blocks, from_others=False, block_by_block=True)
        return look(steered=lambda code: steer(model, own[code], strength=-1))

    console.print(
        "\nNow the unaligned twin: measure it, align it for "
        f"{steps} steps while it goes on learning from its own documents, steer it, measure again.\n"
    )
    stages = {"before": look(), "steered": steered()}
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(
            Pretraining("unaligned", seed + 1, steps=steps, learning_rate=1e-3, warmup_steps=steps // 10),
            scratch,
            model=model,
            trainer_class=partial(
                with_alignment(Trainer),
                alignment=AlignmentConfig(pairs=cast(Any, pairs), held_out=cast(Any, held_out), seed=seed),
            ),
            logging_steps=max(1, steps // 6),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        rows = [row for row in trainer.state.log_history if "align_accuracy" in row]
    for row in rows:
        console.print(
            f"step {row['step']}: task loss {row['task_loss']:.2f}, of a batch's sentences "
            f"{row['align_accuracy']:.0%} nearest to their translation",
            highlight=False,
        )
    model.train(False)
    stages |= {"aligned": look(), "both": steered()}
    console.print(stages_table(stages))
    stages_figure(stages).savefig(out / "improvement.png")
    console.print(f"wrote {out / 'improvement.png'}\n", markup=False)
    for sentence in [*_what_one_sees(stages, steps), _spoken(model, tokenizer, pairs, quick=quick)]:
        console.print(f"- {sentence}", highlight=False)


def _what_one_sees(stages: dict[str, Any], steps: int) -> list[str]:
    before, steered, aligned, both = (stages[name] for name in ("before", "steered", "aligned", "both"))
    gain = both.score("nasca") - before.score("nasca")
    worst, lowest = both.worst("nasca")
    return [
        f"Taking each language's mean off in every block, without training, moves the twin's NASCA from "
        f"{before.score('nasca'):.3f} to {steered.score('nasca'):.3f} and retrieval from "
        f"{before.score('retrieval'):.3f} to {steered.score('retrieval'):.3f}.",
        f"{steps} steps with an alignment loss beside its own task move them to "
        f"{aligned.score('nasca'):.3f} and {aligned.score('retrieval'):.3f}; both together to "
        f"{both.score('nasca'):.3f} and {both.score('retrieval'):.3f}, {gain:+.3f} NASCA (lowest: {worst} "
        f"{lowest:.3f}; chance {both.chance('nasca', worst):.3f}, floor {both.floor('nasca'):.3f}).",
    ]


def _spoken(model: Any, tokenizer: Any, pairs: Any, *, quick: bool) -> str:
    """What the aligned model says from nothing, and with a language's neurons set at the first token."""
    from xalign.babel.tokenizer import SEPARATOR
    from xalign.babel.write import write_pairs
    from xalign.finding.find import find_units
    from xalign.judging.calibrate import calibrate
    from xalign.judging.evaluate import evaluate

    texts = {code: sentences[: 50 if quick else 300] for code, sentences in pairs.texts.items()}
    units = find_units(model, tokenizer, texts, share=0.04)[LANGUAGE]
    natural = write_pairs(60, seed=1, split="held_out").texts
    stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(SEPARATOR)]
    options: dict[str, Any] = {"samples": 20 if quick else 50, "generation": {"eos_token_id": stops}}
    calibration = calibrate(
        model,
        tokenizer,
        units,
        natural,
        strengths=[6, 10] if quick else [4, 6, 8, 10, 12],
        positions=["prompt"],
        max_rise=0.4,
        **options,
    )
    if calibration.chosen[LANGUAGE] is None:
        return f"No strength tried makes it speak {LANGUAGE} and stay within .4 nats of natural text."
    result = evaluate(
        model, tokenizer, units, natural, how=calibration, seeds=2 if quick else 5, random_sets=1, **options
    )
    share, lost = (result.effect(LANGUAGE, name) for name in ("output_share", "output_loss"))
    return (
        f"Asked for nothing, it says {share['before']:.0%} of its sentences in {LANGUAGE}; with 4 % of its "
        f"neurons set to {calibration(LANGUAGE)['strength']:g} times their {LANGUAGE} values at the first "
        f"token, {share['after']:.0%} (with as many random ones {share['before'] + share['random']:.0%}), "
        f"which costs the unsteered model {lost['difference']:+.2f} nats per token over natural text."
    )
