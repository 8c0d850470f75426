"""Follow shared neurons, overlap of units and kinds of neurons along Babel's pretraining, as a picture.

    python recipes/pretrain_babel.py configs/babel_aligned.yaml --checkpoints 16
    python recipes/pretrain_babel.py configs/babel_unaligned.yaml --checkpoints 16
    python benchmarks/neurons_along_training.py runs/babel      # about 15 CPU-minutes

Per checkpoint, over five languages: the neurons that a sentence activates in all of them (100 meanings that
were never seen, with the separator), beside independence; how many of the units that carry the slots of a
sentence (agent, action, object, …) two languages share, beside chance and beside shuffled labels; and the
neurons that fire for one language, for several and for all. Writes neurons_along_training.json, from which a
second call resumes, and neurons_along_training.png to the same folder.
"""

import argparse
import json
from pathlib import Path

import torch
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign import measure
from xalign.babel.examine import WITH_SEPARATOR
from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.splits import take_meanings
from xalign.babel.write import write_pairs
from xalign.probing import LabelledText, neuron_kinds, neuron_sharing, overlaps, word_units

PAIRS, SENTENCES, UNITS, SHARE = 100, 300, 13, 0.05
SITES = [f"{block}.hidden" for block in range(6)]
RUNS = {"aligned": "C0", "unaligned": "C1"}


def labelled(meaning, language):
    """Return a sentence with the words of its slots, where they are found."""
    text, lexicon, spans = meaning.sentence(language), load_lexicon(), []
    tables = {"agent": "agents", "witness": "agents", "action": "actions", "object": "objects"}
    for slot, concept in meaning.slots.items():
        forms = getattr(lexicon, tables.get(slot, f"{slot}s"))[concept].forms[language].values()
        forms = {form.replace(" ", "") if language == "zho_Hans" else form for form in forms}
        found = [(text.casefold().find(form.casefold()), len(form)) for form in sorted(forms, key=len)]
        found = [(start, length) for start, length in found if start >= 0]
        if found:
            start, length = found[-1]  # the longest form
            spans.append((start, start + length, slot))
    return LabelledText(text, tuple(spans))


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("runs", type=Path, help="folder with aligned-checkpoints/ and unaligned-checkpoints/")
runs = parser.parse_args().runs
torch.set_num_threads(1)

held_out = write_pairs(PAIRS, seed=0, split="held_out")
prompts = {code: [f"{text} <sep>" for text in own] for code, own in held_out.texts.items()}
meanings = take_meanings(SENTENCES, seed=1, split="held_out")
words = {code: [labelled(one, code) for one in meanings] for code in LANGUAGES.values()}

# Measure every checkpoint once.
kept = runs / "neurons_along_training.json"
found = json.loads(kept.read_text()) if kept.exists() else {}
for place in sorted(runs.glob("*-checkpoints/checkpoint-*"), key=lambda one: int(one.name.split("-")[1])):
    run, step = place.parent.name.removesuffix("-checkpoints"), int(place.name.split("-")[1])
    if run not in RUNS or f"{run} {step}" in found:
        continue
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    report = measure(model, tokenizer, held_out, ["nasca", "shared_neurons"], **WITH_SEPARATOR)
    sharing = neuron_sharing(model, tokenizer, prompts)
    kinds = neuron_kinds(model, tokenizer, prompts, share=SHARE, penalty=None)
    row = {"run": run, "step": step, "nasca": report.score("nasca")}
    row |= {"pairs": report.score("shared_neurons")}
    row |= {"all_shared": sharing.share("all_shared"), "expected": sharing.expected("all_shared")}
    row |= {"top": [one["top"] for one in sharing.where(group="all_shared")], "kinds": kinds.to_rows()}
    for name, options in (
        ("overlap", {"sites": SITES}),
        ("shuffled", {"sites": SITES, "shuffled": True}),
        ("greedy", {"sites": SITES[2], "selector": "greedy_probe"}),
    ):
        units = word_units(model, tokenizer, words, k=UNITS, **options)
        row[name] = overlaps(units, model).mean("times_chance")
    found[f"{run} {step}"] = row
    kept.write_text(json.dumps(found, indent=1))
    shown = ("nasca", "all_shared", "overlap", "shuffled", "greedy")
    print(f"{run} {step}: " + ", ".join(f"{name} {row[name]:.3f}" for name in shown), flush=True)

# Draw.
figure = Figure(figsize=(12, 6.4), layout="constrained", dpi=150)
(sharing_axes, overlap_axes, kind_axes), maps = figure.subplots(2, 3)
for run, color in RUNS.items():
    rows = sorted((row for row in found.values() if row["run"] == run), key=lambda row: row["step"])
    steps = [row["step"] for row in rows]

    def draw(axes, key, label, rows=rows, steps=steps, color=color, **style):
        """Draw a number along the steps of this run."""
        axes.plot(steps, [row[key] for row in rows], color=color, label=label, **style)

    draw(sharing_axes, "all_shared", f"{run}, all five languages", marker="o", markersize=3)
    draw(sharing_axes, "expected", f"{run}, if independent", linestyle=":")
    draw(sharing_axes, "nasca", f"{run}, NASCA", linestyle="--", linewidth=1)
    draw(overlap_axes, "overlap", f"{run}, normal curves", marker="o", markersize=3)
    draw(overlap_axes, "greedy", f"{run}, greedy probe, block 2", marker="s", markersize=3, linestyle="--")
    draw(overlap_axes, "shuffled", f"{run}, shuffled labels", linestyle=":")
    for kind, line in (("specific", "-"), ("related", "--"), ("general", ":")):
        counts = [sum(one[kind] for one in row["kinds"]) for row in rows]
        kind_axes.plot(steps, counts, color=color, linestyle=line, label=f"{run}, {kind}")
overlap_axes.axhline(1, color="0.6", linewidth=0.8)
sharing_axes.set_title("neurons that a sentence activates in all languages", fontsize=9)
sharing_axes.set_ylabel("share of neurons (NASCA: of pairs)")
overlap_axes.set_title("units that carry slots, shared by two languages", fontsize=9)
overlap_axes.set_ylabel("times chance")
kind_axes.set_title("neurons that fire for one language, several, all", fontsize=9)
for axes in (sharing_axes, overlap_axes, kind_axes):
    axes.set_xlabel("step")
    axes.legend(fontsize=6)
for axes, (title, kinds) in zip(
    maps,
    (("specific + related, aligned", "aligned"), ("specific + related, unaligned", "unaligned"), ("", "")),
    strict=True,
):
    rows = sorted((row for row in found.values() if row["run"] == kinds), key=lambda row: row["step"])
    if not rows:
        axes.axis("off")
        continue
    table = [[one["specific"] + one["related"] for one in row["kinds"]] for row in rows]
    image = axes.imshow(torch.tensor(table).T, aspect="auto", origin="lower", cmap="viridis")
    axes.set_xticks(range(0, len(rows), 3), [rows[at]["step"] for at in range(0, len(rows), 3)])
    axes.set_xlabel("step")
    axes.set_ylabel("block")
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes)
figure.savefig(runs / "neurons_along_training.png")
print(f"\nwrote {runs / 'neurons_along_training.png'}")
