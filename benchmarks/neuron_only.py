r"""Ask whether aligning a tenth of the neurons is enough, on Babel's intents.

    python benchmarks/neuron_only.py runs/neuron_only                   # 5 seeds
    python benchmarks/neuron_only.py runs/neuron_only --seeds 1 --arms control full random

From the unaligned model, every arm learns the task in English and trains on documents; all but the controls
align too. Arms differ in what of the model is trained: all of it, or a tenth of the neurons of all blocks,
chosen in some way or at random with as many in each block. Writes neuron_only.json, from which a second call
resumes, and prints a table with paired differences.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from transfer_run import LANGUAGES, learn_with_text, others

from xalign import UnitSet, find_units, measure
from xalign.babel import load_babel, write_pairs
from xalign.babel.examine import WITH_SEPARATOR, token_loss
from xalign.babel.splits import take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.transfer import intent_accuracy, new_head
from xalign.finding.activation_gradient import activation_gradient
from xalign.judging.controls import random_units
from xalign.statistics.intervals import bootstrap_interval
from xalign.training.adapters import train_units

SHARE, FULL, NEURONS = 0.1, 5e-4, 4e-3
ARMS = ("control", "full", "control of neurons", "agnostic", "specific", "lape", "random")

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=5, help="run the seeds below this")
parser.add_argument("--first_seed", type=int, default=0, help="skip the seeds below this")
parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
parser.add_argument("--rate", type=float, default=NEURONS, help="learning rate of neurons")
parser.add_argument("--test", type=int, default=1000, help="test sentences per language")
parser.add_argument("--steps", type=int, default=250, help="steps of each training")
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
tested = take_meanings(arguments.test, 0, "task")
held_out, unseen = write_pairs(100, 0, "held_out"), take_meanings(300, 1, "held_out")
read = take_meanings(300, 2, "held_out")
TEXTS = {code: [f"{one.sentence(code)} {SEPARATOR}" for one in read] for code in LANGUAGES}


def chosen(arm, model, tokenizer, seed):
    """Return a tenth of the neurons; where each language has its own, these share the tenth."""
    part = SHARE / len(LANGUAGES)
    if arm == "lape":
        return find_units(model, tokenizer, TEXTS, "lape", share=SHARE)
    if arm in ("random", "control of neurons"):
        return random_units(model, chosen("agnostic", model, tokenizer, seed), seed=seed)
    if arm == "agnostic":  # the same for each language: take those of one
        every = activation_gradient(model, tokenizer, TEXTS, select="agnostic", share=SHARE)
        return UnitSet([row for row in every if row.label == LANGUAGES[0]])
    return activation_gradient(model, tokenizer, TEXTS, select="specific", share=part)


def run(arm, seed):
    """Return every figure of an arm and a seed."""
    started = time.process_time()
    model, tokenizer = load_babel("unaligned")
    head, rate, trained = new_head(model.config.hidden_size, seed), FULL, None
    parameters = list(model.parameters())
    if arm not in ("control", "full"):
        trained = train_units(model, chosen(arm, model, tokenizer, seed))
        parameters, rate = trained.parameters, arguments.rate
    alignment = None if arm.startswith("control") else {}
    options = {"rate": rate, "seed": seed, "steps": arguments.steps}
    learn_with_text(model, tokenizer, parameters, head=head, alignment=alignment, **options)
    number = sum(one.numel() for one in parameters)
    if trained is not None:
        trained.merge()
    loss = [token_loss(model, tokenizer, [("", one.sentence(code)) for one in unseen]) for code in LANGUAGES]
    return {
        "accuracy": intent_accuracy(model.model, head, tokenizer, tested),
        "nasca": measure(model, tokenizer, held_out, ["nasca"], **WITH_SEPARATOR).score("nasca"),
        "loss": float(np.mean(loss)),
        "parameters": number,
        "cpu_seconds": time.process_time() - started,
    }


kept = arguments.out / "neuron_only.json"
results = json.loads(kept.read_text()) if kept.exists() else {}
for seed in range(arguments.first_seed, arguments.seeds):
    for arm in arguments.arms:
        if f"{arm} {seed}" not in results:
            one = results[f"{arm} {seed}"] = run(arm, seed)
            kept.write_text(json.dumps(results, indent=1))
            print(arm, seed, {code: round(value, 3) for code, value in one["accuracy"].items()}, flush=True)


def each(arm, value):
    """Return the value of an arm for each seed."""
    seeds = range(arguments.first_seed, arguments.seeds)
    return np.array([value(results[f"{arm} {seed}"]) for seed in seeds])


print(f"\n{arguments.seeds - arguments.first_seed} seeds, {arguments.test} sentences a language\n")
columns = ["arm", "trained", "zero-shot", "gain over control, 95 %", "of full's", "English"]
columns += ["LM loss", "NASCA", "CPU s"]
print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
control = each("control", lambda one: others(one["accuracy"]))
full = each("full", lambda one: others(one["accuracy"])) - control
for arm in arguments.arms:
    values = each(arm, lambda one: others(one["accuracy"]))
    gain = values - control
    low, high = bootstrap_interval(gain) if arm != "control" and len(gain) > 1 else (0.0, 0.0)
    means = [each(arm, lambda one, name=name: one[name]).mean() for name in ("loss", "nasca", "cpu_seconds")]
    print(
        f"| {arm} | {each(arm, lambda one: one['parameters']).mean():,.0f} | {values.mean():.3f} "
        f"| {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}] | {gain.mean() / full.mean():.2f} "
        f"| {each(arm, lambda one: one['accuracy']['eng_Latn']).mean():.3f} "
        f"| {means[0]:.3f} | {means[1]:.3f} | {means[2]:.0f} |"
    )
