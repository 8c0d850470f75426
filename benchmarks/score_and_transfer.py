"""Test whether NASCA, the lexical floor or the LM loss predicts zero-shot accuracy, in Babel.

    python recipes/pretrain_babel.py configs/babel_aligned.yaml
    python recipes/pretrain_babel.py configs/babel_unaligned.yaml
    python benchmarks/score_and_transfer.py runs/babel        # about 30 CPU-minutes

The points are the 8 checkpoints of each run × 4 languages. Accuracy is that on the intent task, learnt in
English only (mean of 3 seeds). Correlations have 95 % intervals from a bootstrap over checkpoints. Writes
score_and_transfer.json, from which a second call resumes, and score_and_transfer.png to the same folder; also
reports/ with a report of each checkpoint, and scores.csv, from which `correlate` finds the same:

    xalign correlate runs/babel/reports runs/babel/scores.csv --resample models
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign import correlate, measure
from xalign.babel import write_pairs
from xalign.babel.examine import WITH_SEPARATOR, examine

SHOWN = {
    "nasca": "NASCA (layer mean, with separator)",
    "floor": "lexical floor",
    "sentence_loss": "LM loss of the language, nats per token",
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("runs", type=Path, help="folder with aligned-checkpoints/ and unaligned-checkpoints/")
runs = parser.parse_args().runs
torch.set_num_threads(1)

# Measure every checkpoint once.
kept = runs / "score_and_transfer.json"
found = json.loads(kept.read_text()) if kept.exists() else {}
for place in sorted(runs.glob("*-checkpoints/checkpoint-*"), key=lambda p: int(p.name.split("-")[1])):
    name = f"{place.parent.name.removesuffix('-checkpoints')} {place.name.split('-')[1]}"
    report = runs / "reports" / name.replace(" ", "-")
    if name not in found or not report.exists():
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
        held_out = write_pairs(100, 0, "held_out")
        measure(model, tokenizer, held_out, ["nasca"], **WITH_SEPARATOR).save(report, overwrite=True)
        found[name] = found.get(name) or examine(model, tokenizer)
        kept.write_text(json.dumps(found, indent=1))
        scores = found[name]["nasca"]
        print(f"{name}: NASCA {np.mean(list(scores.values())):.3f}", flush=True)

# One row per checkpoint, one column per language.
languages = list(next(iter(found.values()))["nasca"])
accuracy = np.array(
    [
        [np.mean([run["accuracy"][code] for run in figures["transfer"]]) for code in languages]
        for figures in found.values()
    ]
)
measures = {
    key: np.array([[figures[key][code] for code in languages] for figures in found.values()]) for key in SHOWN
}
draws = np.random.default_rng(0).integers(len(found), size=(2000, len(found)))


def with_interval(correlation, values):
    """Format a correlation over all points with its 95 % interval over resampled checkpoints."""
    resampled = [correlation(values[rows].ravel(), accuracy[rows].ravel()).statistic for rows in draws]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return f"{correlation(values.ravel(), accuracy.ravel()).statistic:+.2f} [{low:+.2f}, {high:+.2f}]"


print(f"\n{len(found)} checkpoints × {len(languages)} languages\n")
print("| against | Pearson | Spearman |\n|---|---|---|")
figure = Figure(figsize=(12, 4), layout="constrained", dpi=150)
panels = figure.subplots(1, 3, sharey=True)
for axes, (key, values) in zip(panels, measures.items(), strict=True):
    pearson, spearman = with_interval(stats.pearsonr, values), with_interval(stats.spearmanr, values)
    print(f"| {SHOWN[key]} | {pearson} | {spearman} |")
    for row, name in enumerate(found):
        marker = "o" if name.startswith("aligned") else "x"
        for column in range(len(languages)):
            axes.scatter(values[row, column], accuracy[row, column], color=f"C{column}", marker=marker, s=22)
    axes.set_xlabel(SHOWN[key])
    axes.set_title(f"Pearson {pearson}\nSpearman {spearman}", loc="left", fontsize=9)
    if key == "nasca":
        axes.set_ylabel("zero-shot accuracy on intents")
        for column, code in enumerate(languages):
            axes.scatter([], [], color=f"C{column}", label=code)
        axes.scatter([], [], color="grey", marker="o", label="aligned run")
        axes.scatter([], [], color="grey", marker="x", label="unaligned run")
        axes.legend(fontsize=7)
figure.savefig(runs / "score_and_transfer.png")
lines = ["model,step,language,score,LM loss"]
for row, (name, figures) in enumerate(found.items()):
    mixture, step = name.split()
    for column, code in enumerate(languages):
        score, loss = accuracy[row, column], figures["sentence_loss"][code]
        lines.append(f"{mixture}-checkpoints,{step},{code},{score},{loss}")
(runs / "scores.csv").write_text("\n".join(lines), encoding="utf-8")
print("\nthe same by correlate:")
for row in correlate(runs / "reports", runs / "scores.csv", resample="models").to_rows():
    print({key: round(one, 3) if isinstance(one, float) else one for key, one in row.items()})
print(f"\nwrote {runs / 'score_and_transfer.png'}")
