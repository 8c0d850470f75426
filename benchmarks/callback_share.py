"""Measure what a callback costs a training run between its measurements, and what share `every="auto"` takes.

    python benchmarks/callback_share.py            # about 12 CPU-minutes
    python benchmarks/callback_share.py --smoke    # seconds

A `Trainer` trains Babel's model on its documents, once plain and once with `AlignmentCallback`, in turn.
Steps are of 16 documents: a model as small as this makes the callback's share as large as it can be.

    between     CPU time of a step without a measurement ÷ that of the same steps of the plain run: medians
                over steps, and then of the ratios of runs. The goal is 1.00.
    auto        the share of the CPU time of a run that its measurements take with `every="auto"`. The first
                and the last are made in any case and do not count. The goal is at most `max_share`.
"""

import statistics
import tempfile
import time

import torch
from clock import machine, parser_of, write
from transformers import Trainer, TrainerCallback, TrainingArguments

from xalign import AlignmentCallback
from xalign.babel import load_babel, write_pairs
from xalign.babel.splits import take_meanings

CPU = torch.device("cpu")


class Steps(TrainerCallback):
    """Notes the CPU time from the end of each step, behind all callbacks, to that of the next."""

    def __init__(self):
        self.taken = []

    def on_train_begin(self, *_, **__):
        """Start the clock."""
        self._last = time.process_time()

    def on_step_end(self, *_, **__):
        """Note a step. This callback is the last one, so that the others' work is in it."""
        now = time.process_time()
        self.taken.append(now - self._last)
        self._last = now


def train(steps, pairs=None, **options):
    """Train for some steps; return the CPU time of each, and the steps after which was measured."""
    model, tokenizer = load_babel("unaligned")
    meanings = take_meanings(500, 0, "train")
    data = [tokenizer(one.sentence("deu_Latn"), padding="max_length", max_length=32) for one in meanings]
    data = [dict(row) | {"labels": row["input_ids"]} for row in data]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=16,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                logging_steps=10**6,
            ),
            train_dataset=data,
            processing_class=tokenizer,
        )
        callback = None
        if pairs is not None:
            callback = AlignmentCallback(trainer, pairs, save_reports=False, **options)
            trainer.add_callback(callback)
        clock = Steps()
        trainer.add_callback(clock)
        trainer.train()
        measured = [report.step for report in callback.reports] if callback else []
    return clock.taken, measured


def between(steps, runs, pairs):
    """Return the ratios of the runs."""
    ratios = []
    for run in range(runs + 1):
        arms = {"plain": None, "with": pairs}
        taken = {}
        for name in arms if run % 2 else reversed(arms):
            taken[name], measured = train(steps, arms[name], every=steps // 2)
            if name == "with":
                # A measurement at a step's end is in that step, and what it leaves behind in the next.
                skipped = {one for step in measured for one in (step, step + 1)}
        kept = [step for step in range(2, steps) if step not in skipped]
        ratios.append(
            statistics.median(taken["with"][step - 1] for step in kept)
            / statistics.median(taken["plain"][step - 1] for step in kept)
        )
    return ratios[1:]  # the first is a warm-up


def share(steps, pairs, largest):
    """Return the share of a run's time that its measurements took, but for the first and the last."""
    taken, measured = train(steps, pairs, every="auto", max_share=largest)
    usual = statistics.median(taken)
    inner = [step for step in measured if 0 < step < steps]
    spent = sum(taken[step - 1] - usual for step in inner)
    return {"max_share": largest, "measurements": len(inner), "share": spent / sum(taken)}


def main() -> None:
    """Run both parts, and print and write what they found."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    if options.smoke:
        options.runs, options.steps = 1, 12
    torch.set_num_threads(1)
    pairs = write_pairs(20, 0, "held_out")
    ratios = between(options.steps, options.runs, pairs)
    found = {
        "machine": machine(CPU),
        "between": {"ratios": ratios, "median": statistics.median(ratios)},
        "auto": [share(5 * options.steps, pairs, largest) for largest in (0.02, 0.1)],
    }
    print("between measurements:", " ".join(f"{one:.3f}" for one in ratios), end=" ")
    print(f"median {found['between']['median']:.3f}")
    for row in found["auto"]:
        print("max_share {max_share}: {share:.4f} in {measurements} measurements".format(**row))
    write(options.out, found)


if __name__ == "__main__":
    main()
