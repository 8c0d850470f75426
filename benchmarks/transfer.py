r"""Test whether alignment helps a model in languages that it was not taught the task in, on Babel's intents.

    python benchmarks/transfer.py runs/transfer                      # from the unaligned model, 8 seeds
    python benchmarks/transfer.py runs/transfer --start aligned --seeds 4
    python benchmarks/transfer.py runs/transfer --seeds 5 --arms control contrastive contrastive-all \
        neuron_state-middle neuron_state
    python benchmarks/transfer.py runs/transfer --seeds 5 --arms control contrastive neuron_state transport \
        cka mse mse-all word_level
    python benchmarks/transfer.py runs/transfer --seeds 3 --arms control neuron_state neuron_state-detached \
        control-bare neuron_state-bare neuron_state-bare-detached neuron_state-bare-kl-1.0

Every arm learns the task from English sentences. All but the bare arms also train on documents: the parallel
sentences of the step as translations. All but the controls add an alignment loss on the same pairs. Arms are
paired by seed; one arm with one seed takes about two CPU-minutes. Writes transfer-START.json, from which a
second call resumes, and transfer-START.png.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from transfer_run import COMMON, LANGUAGES, learn, look, others, translation

from xalign.babel import load_babel, write_pairs
from xalign.babel.splits import take_meanings
from xalign.babel.transfer import intent_accuracy
from xalign.links.link import link_pairs
from xalign.model.batches import pad_documents
from xalign.statistics.intervals import bootstrap_interval
from xalign.training.objective import AlignmentObjective
from xalign.training.word_links import linked_only

ARMS = {
    "control": None,
    "contrastive": {"loss": "contrastive", "layer": 3},
    "neuron_state": {"loss": "neuron_state", "layer": "all"},
    # These tell apart the effects of the state and of the depth.
    "contrastive-all": {"loss": "contrastive", "layer": "all"},
    "neuron_state-middle": {"loss": "neuron_state", "layer": 3},
    # These show what the guards against forgetting cost and save.
    "neuron_state-detached": {"loss": "neuron_state", "layer": "all", "detach_pivot": True},
    "control-bare": None,
    "neuron_state-bare": {"loss": "neuron_state", "layer": "all"},
    "neuron_state-bare-detached": {"loss": "neuron_state", "layer": "all", "detach_pivot": True},
    # Guards in the place of documents, with several factors.
    **{
        f"neuron_state-bare-{guard}-{factor}": {
            "loss": "neuron_state",
            "layer": "all",
            "start": None if guard == "l2_sp" else "copy",
            guard: factor,
        }
        for guard, factors in (
            ("kl", (0.3, 1.0, 3.0)),
            ("pivot_drift", (0.1, 1.0, 10.0)),
            ("l2_sp", (0.01, 0.1, 1.0)),
        )
        for factor in factors
    },
    # Other losses at the same block. The last two are of states that have no unit length: their weights make
    # them begin about as large as the others.
    "transport": {"loss": "transport", "layer": 3, "pool": None},
    "cka": {"loss": "cka", "layer": 3, "temperature": None},
    "mse": {"loss": "mse", "layer": 3, "temperature": None, "weight": 0.1},
    "mse-all": {"loss": "mse", "layer": "all", "temperature": None, "weight": 0.1},
    "word_level": {"loss": "word_level", "layer": 3, "pool": None, "temperature": None, "weight": 0.01},
}
"""Arm -> its alignment loss, or None. Bare arms train on no documents. An option that is None is left out."""

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results and the figure")
parser.add_argument("--start", default="unaligned", choices=["unaligned", "aligned"])
parser.add_argument("--seeds", type=int, default=8, help="run the seeds below this")
parser.add_argument(
    "--first_seed", type=int, default=0, help="skip the seeds below this, which another call runs"
)
parser.add_argument("--arms", nargs="+", default=["control", "contrastive", "neuron_state"], choices=ARMS)
parser.add_argument("--test", type=int, default=1000, help="test sentences per language")
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
tested = take_meanings(arguments.test, 0, "task")
held_out = write_pairs(100, 0, "held_out")
unseen = take_meanings(400, 1, "held_out")


def replayed(pairs, seed):
    """Write the pairs as translations in random directions."""
    order = random.Random(f"replayed {seed}")
    return [
        translation(*sides, order)
        for bitext in pairs.values()
        for sides in zip(bitext.pivot_sentences, bitext.sentences, strict=True)
    ]


def train(start, arm, seed):
    """Train one arm with one seed, and return its scores afterwards."""
    model, tokenizer = load_babel(start)
    pairs = write_pairs(2000, seed, "train")
    # The control has the same objective, but only to know the pairs of a step; it never computes the loss.
    options = {name: one for name, one in (COMMON | (ARMS[arm] or {})).items() if one is not None}
    if arm == "word_level":  # links that the built-in aligner finds; Chinese has no spaces between words
        spaced = pairs.only([code for code in pairs if code != "zho_Hans"])
        found = link_pairs(spaced, lambda text, _: text.lower().split())
        pairs, options["links"] = linked_only(spaced, found)
        options["start"] = "copy"
    if "kl" in options:  # of the text that the other arms train on
        options |= {
            "replay": replayed(pairs, seed),
            "replay_weight": 0.0,
            "replay_batch_size": COMMON["batch_size"],
        }
    objective = AlignmentObjective(model, tokenizer, pairs, held_out=held_out, **options, seed=seed)

    def documents(step, order):
        """Write a step's pairs as translations in random directions, and two as single sentences."""
        end = tokenizer.eos_token_id
        due = objective.pairs_of(step)
        texts = []
        for code, row in due:
            texts.append(translation(pairs[code].pivot_sentences[row], pairs[code].sentences[row], order))
        for code, row in order.sample(due, 2):
            texts.append(pairs[code].sentences[row])
        return pad_documents([[*tokenizer(text)["input_ids"], end] for text in texts])

    head, seconds = learn(
        model,
        tokenizer,
        seed,
        documents=None if "bare" in arm else documents,
        objective=objective if ARMS[arm] else None,
    )
    accuracy = intent_accuracy(model.model, head, tokenizer, tested)
    return {"accuracy": accuracy, "cpu_seconds": seconds} | look(model, tokenizer, held_out, unseen)


# Run what has not been run.
kept = arguments.out / f"transfer-{arguments.start}.json"
found = json.loads(kept.read_text()) if kept.exists() else {}
if "before" not in found:
    found["before"] = look(*load_babel(arguments.start), held_out, unseen)
for seed in range(arguments.first_seed, arguments.seeds):
    for arm in arguments.arms:
        if f"{arm} {seed}" not in found:
            found[f"{arm} {seed}"] = train(arguments.start, arm, seed)
            kept.write_text(json.dumps(found, indent=1))
            print(
                arm, seed, {k: round(v, 3) for k, v in found[f"{arm} {seed}"]["accuracy"].items()}, flush=True
            )


def each(arm, value):
    """Return the value of an arm for each seed."""
    seeds = range(arguments.first_seed, arguments.seeds)
    return np.array([value(found[f"{arm} {seed}"]) for seed in seeds])


def control_of(arm):
    """Return the arm that an arm is compared with: that without documents, if the arm has none."""
    return "control-bare" if "bare" in arm else "control"


def with_interval(differences):
    """Format a mean paired difference with its 95 % interval over seeds."""
    low, high = bootstrap_interval(differences)
    return f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


before = found["before"]
print(f"\nfrom the {arguments.start} model, {arguments.seeds} seeds, {arguments.test} sentences a language")
print(
    "before: NASCA with separator {:.3f}, plain {:.3f}".format(
        others(before["nasca"]), others(before["nasca_plain"])
    )
)
columns = ["arm", "zero-shot", "gain over control", "lowest gain of a language", "English", "English gain"]
measured = {"nasca": "NASCA with separator", "nasca_plain": "plain", "mexa": "MEXA", "retrieval": "retrieval"}
measured = {name: title for name, title in measured.items() if all(name in run for run in found.values())}
columns += ["LM loss, ratio", *measured.values(), "CPU s"]
print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
for arm in arguments.arms:
    zero_shot = each(arm, lambda run: others(run["accuracy"]))
    english = each(arm, lambda run: run["accuracy"]["eng_Latn"])
    loss = each(arm, lambda run: np.mean(list(run["sentence_loss"].values())))
    row = [f"{zero_shot.mean():.3f} ({' '.join(f'{value:.3f}' for value in zero_shot)})"]
    if arm != control_of(arm):
        gains = {
            code: each(arm, lambda run, code=code: run["accuracy"][code])
            - each(control_of(arm), lambda run, code=code: run["accuracy"][code])
            for code in LANGUAGES
        }
        lowest = min(gains[code].mean() for code in LANGUAGES[1:])
        gain = zero_shot - each(control_of(arm), lambda run: others(run["accuracy"]))
        row += [with_interval(gain), f"{lowest:+.3f}"]
        row += [f"{english.mean():.3f}", with_interval(gains["eng_Latn"])]
        control = each(control_of(arm), lambda run: np.mean(list(run["sentence_loss"].values())))
        row += [f"{(loss / control).mean():.4f}"]
    else:
        row += ["", "", f"{english.mean():.3f}", "", f"({loss.mean():.3f})"]
    for name in measured:
        row.append(f"{each(arm, lambda run, name=name: others(run[name])).mean():.3f}")
    row.append(f"{np.median(each(arm, lambda run: run['cpu_seconds'])):.0f}")
    print("| " + " | ".join([arm, *row]) + " |")

figure = Figure(figsize=(10, 3.6), layout="constrained", dpi=150)
for axes, code in zip(figure.subplots(1, len(LANGUAGES), sharey=True), LANGUAGES, strict=True):
    for place, arm in enumerate(arguments.arms):
        values = each(arm, lambda run, code=code: run["accuracy"][code])
        axes.scatter([place] * len(values), values, s=14, color=f"C{place}")
        axes.hlines(values.mean(), place - 0.3, place + 0.3, color=f"C{place}")
    axes.set_xticks(range(len(arguments.arms)), arguments.arms, rotation=45, ha="right", fontsize=7)
    axes.set_title(code, fontsize=9)
    axes.set_ylim(0, 1)
figure.axes[0].set_ylabel("accuracy")
figure.savefig(arguments.out / f"transfer-{arguments.start}.png")
print(f"\nwrote {arguments.out / f'transfer-{arguments.start}.png'}")
