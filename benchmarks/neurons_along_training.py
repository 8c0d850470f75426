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
from xalign.metrics.depth_stages import STAGES
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
    row |= {name: getattr(sharing, name)("all_shared") for name in ("share", "expected", "other_items")}
    row |= {"blocks": sharing.where(group="all_shared"), "kinds": kinds.to_rows()}
    for name, options in (
        ("overlap", {"sites": SITES}),
        ("shuffled", {"sites": SITES, "shuffled": True}),
        ("greedy", {"sites": SITES[2], "selector": "greedy_probe"}),
    ):
        units = word_units(model, tokenizer, words, k=UNITS, **options)
        row[name] = overlaps(units, model).mean("times_chance")
    found[f"{run} {step}"] = row
    kept.write_text(json.dumps(found, indent=1))
    shown = ("nasca", "share", "other_items", "overlap", "shuffled", "greedy")
    print(f"{run} {step}: " + ", ".join(f"{name} {row[name]:.3f}" for name in shown), flush=True)

# Draw.
figure = Figure(figsize=(12, 6.8), layout="constrained", dpi=150)
(sharing_axes, overlap_axes, kind_axes), (*maps, block_axes) = figure.subplots(2, 3)
for run, color in RUNS.items():
    rows = sorted((row for row in found.values() if row["run"] == run), key=lambda row: row["step"])
    steps = [row["step"] for row in rows]

    def draw(axes, key, label, rows=rows, steps=steps, color=color, **style):
        """Draw a number along the steps of this run."""
        axes.plot(steps, [row[key] for row in rows], color=color, label=label, **style)

    draw(sharing_axes, "share", f"{run}", marker="o", markersize=3)
    draw(sharing_axes, "other_items", f"{run}, other sentences", linestyle="--")
    draw(sharing_axes, "expected", f"{run}, independence", linestyle=":")
    draw(sharing_axes, "nasca", f"{run}, NASCA", linewidth=0.8, alpha=0.6)
    draw(overlap_axes, "overlap", f"{run}, normal curves", marker="o", markersize=3)
    draw(overlap_axes, "greedy", f"{run}, greedy probe, block 2", linestyle="--", linewidth=0.8)
    draw(overlap_axes, "shuffled", f"{run}, shuffled labels", linestyle=":")
    for kind, line in (("specific", "-"), ("related", "--"), ("general", ":")):
        counts = [sum(one[kind] for one in row["kinds"]) for row in rows]
        kind_axes.plot(steps, counts, color=color, linestyle=line, label=f"{run}, {kind}")
    for key, line, marker in (("share", "-", "o"), ("other_items", "--", None), ("top", ":", "s")):
        label = {"share": run, "other_items": f"{run}, other sentences", "top": f"{run}, of the top 5 %"}[key]
        values = [row[key] for row in rows[-1]["blocks"]]
        block_axes.plot(values, color=color, linestyle=line, marker=marker, markersize=3, label=label)
overlap_axes.axhline(1, color="0.6", linewidth=0.8)
for axes, title, label, top in (
    (sharing_axes, "neurons that a sentence activates in all five languages", "share (NASCA: of pairs)", 1.0),
    (overlap_axes, "units that carry slots, shared by two languages", "times chance", 3.4),
    (kind_axes, "neurons that fire for one language, several, all", "neurons of 2,304", 170),
    (block_axes, "active in all languages, by block, last step", "share of neurons", 1.0),
):
    axes.set_title(title, fontsize=8)
    axes.set_ylabel(label)
    axes.set_ylim(0, top)
    axes.set_xlabel("block" if axes is block_axes else "step")
    axes.legend(fontsize=5.5, loc="upper left", ncols=2, columnspacing=0.8, handlelength=1.6)
for axes, run in zip(maps, RUNS, strict=True):
    rows = sorted((row for row in found.values() if row["run"] == run), key=lambda row: row["step"])
    table = [[one["specific"] + one["related"] for one in row["kinds"]] for row in rows]
    image = axes.imshow(torch.tensor(table).T, aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=40)
    axes.set_xticks(range(0, len(rows), 3), [rows[at]["step"] for at in range(0, len(rows), 3)])
    axes.set_xlabel("step")
    axes.set_ylabel("block")
    shared = [
        (at, block)
        for at, row in enumerate(rows)
        for block, one in enumerate(row["kinds"])
        if one["stage"] == STAGES[1]
    ]
    axes.plot(*zip(*shared, strict=True), "w.", markersize=5)
    axes.set_title(f"neurons of languages, {run}; dots: {STAGES[1]}", fontsize=8)
    figure.colorbar(image, ax=axes)
figure.savefig(runs / "neurons_along_training.png")
print(f"\nwrote {runs / 'neurons_along_training.png'}")
