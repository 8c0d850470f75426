r"""Ask whether an alignment adapter that knows no task helps one that does, on Babel's intents.

    python benchmarks/merge_adapters.py runs/merge                 # 5 seeds, about 10 CPU-minutes each

From the unaligned model, LoRA adapters are trained: one on the task in English; one on task and alignment
together; and two on alignment alone, one of which compares the languages with English as the base model has
it. `apart` adds the task's adapter and an alignment adapter. Weights are chosen on meanings that are not
reported: the best mean of the other languages among those that cost English at most .01. Writes
merge_adapters.json, from which a second call resumes, and prints a table with paired differences.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transfer_run import LANGUAGES, body_of, learn_with_text, others

from xalign import measure
from xalign.babel import load_babel, write_pairs
from xalign.babel.examine import WITH_SEPARATOR, token_loss
from xalign.babel.splits import take_meanings
from xalign.babel.transfer import intent_accuracy, new_head
from xalign.statistics.intervals import bootstrap_interval
from xalign.training.adapters import combine_adapters, search_weights

RATE, LOST, GRID = 2e-3, 0.01, (0.5, 0.75, 1.0)
HOW = ("sum", "svd", "linear")
ADAPTERS = {"free": {}, "frozen pivot": {"frozen_pivot": True}}
"""Alignment adapter -> its options."""

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=5, help="run the seeds below this")
parser.add_argument("--first_seed", type=int, default=0, help="skip the seeds below this")
parser.add_argument("--test", type=int, default=1000, help="test sentences per language")
parser.add_argument("--steps", type=int, default=250, help="steps of each training")
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
tested = take_meanings(arguments.test, 0, "task")
chosen_with = take_meanings(100, 2, "held_out")
held_out, unseen = write_pairs(100, 0, "held_out"), take_meanings(300, 1, "held_out")
CONFIG = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", exclude_modules=["lm_head"])


def look(model, tokenizer, head):
    """Return every outcome of a model."""
    loss = {
        code: token_loss(model, tokenizer, [("", meaning.sentence(code)) for meaning in unseen])
        for code in LANGUAGES
    }
    report = measure(model, tokenizer, held_out, ["nasca"], **WITH_SEPARATOR)
    accuracy = intent_accuracy(body_of(model), head, tokenizer, tested)
    return {"accuracy": accuracy, "nasca": report.score("nasca"), "loss": float(np.mean(list(loss.values())))}


def trained(model, tokenizer, name, seed, head=None, alignment=None):
    """Train one adapter of a model."""
    model.set_adapter(name)
    parameters = [one for one in model.parameters() if one.requires_grad]
    options = {"rate": RATE, "seed": seed, "steps": arguments.steps}
    learn_with_text(model, tokenizer, parameters, head=head, alignment=alignment, **options)


def run(seed):
    """Return every figure of a seed, and the CPU seconds it took."""
    before, found = time.process_time(), {}
    base, tokenizer = load_babel("unaligned")
    torch.manual_seed(seed)
    model = get_peft_model(base, CONFIG, adapter_name="task")
    for name in ("joint", *ADAPTERS):
        model.add_adapter(name, CONFIG)
    heads = {name: new_head(base.config.hidden_size, seed) for name in ("task", "joint")}
    trained(model, tokenizer, "task", seed, heads["task"])
    trained(model, tokenizer, "joint", seed, heads["joint"], alignment={})
    for name, head in heads.items():
        model.set_adapter(name)
        found[name] = look(model, tokenizer, head)
    model.set_adapter("task")
    alone = intent_accuracy(body_of(model), heads["task"], tokenizer, chosen_with)["eng_Latn"]

    def score(combined):
        accuracy = intent_accuracy(body_of(combined), heads["task"], tokenizer, chosen_with)
        return others(accuracy) - (1.0 if accuracy["eng_Latn"] < alone - LOST else 0.0)

    for name, options in ADAPTERS.items():
        trained(model, tokenizer, name, seed, alignment=options)
        for how in HOW:
            best = search_weights(model, ["task", name], score, grid=GRID, how=how)
            combine_adapters(model, best.weights, "both", how=how)
            found[f"apart, {name}, {how}"] = look(model, tokenizer, heads["task"]) | {"weights": best.weights}
            model.set_adapter("task")
            model.delete_adapter("both")
    return found | {"cpu_seconds": time.process_time() - before}


kept = arguments.out / "merge_adapters.json"
results = json.loads(kept.read_text()) if kept.exists() else {}
for seed in range(arguments.first_seed, arguments.seeds):
    if str(seed) not in results:
        results[str(seed)] = run(seed)
        kept.write_text(json.dumps(results, indent=1))
        arms = {name: one for name, one in results[str(seed)].items() if name != "cpu_seconds"}
        shown = {name: round(others(one["accuracy"]), 3) for name, one in arms.items()}
        print(seed, f"{results[str(seed)]['cpu_seconds']:.0f} CPU s", shown, flush=True)
of_seeds = [results[str(seed)] for seed in range(arguments.first_seed, arguments.seeds)]
print(f"\n{len(of_seeds)} seeds, {arguments.test} sentences a language\n")
print("| arm | zero-shot | gain over task, 95 % | of joint's | English | LM loss | NASCA | weights |")
print("|---" * 8 + "|")
task = np.array([others(one["task"]["accuracy"]) for one in of_seeds])
joint = np.array([others(one["joint"]["accuracy"]) for one in of_seeds]) - task
for name in (name for name in of_seeds[0] if name != "cpu_seconds"):
    values = np.array([others(one[name]["accuracy"]) for one in of_seeds])
    low, high = bootstrap_interval(values - task)
    english = np.array([one[name]["accuracy"]["eng_Latn"] for one in of_seeds])
    weights = "; ".join(
        " ".join(f"{weight:g}" for weight in one[name]["weights"].values())
        for one in of_seeds
        if "weights" in one[name]
    )
    print(
        f"| {name} | {values.mean():.3f} | {(values - task).mean():+.3f} [{low:+.3f}, {high:+.3f}] "
        f"| {(values - task).mean() / joint.mean():.2f} | {english.mean():.3f} "
        f"| {np.mean([one[name]['loss'] for one in of_seeds]):.3f} "
        f"| {np.mean([one[name]['nasca'] for one in of_seeds]):.3f} | {weights} |"
    )
