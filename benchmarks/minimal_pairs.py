"""Probe good and bad sentences by layer, in form and in meaning, on Babel and on an encoder with real text.

    python benchmarks/minimal_pairs.py                # about 10 CPU-minutes

Babel's two models read 150 pairs per language. In form, a verb stands in another of its forms (present for
infinitive, or the reverse). In meaning, objects are exchanged between two sentences whose actions cannot take
them. all-MiniLM-L6-v2 reads 200 pairs per language of CLAMS (agreement) and of PUD: neighbouring words
exchanged (form), nouns exchanged (meaning). Prints Markdown tables. Reads the folder that XALIGN_DATA names
(default: ../shared/data); without it, only Babel is probed.
"""

import os
import random
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from xalign import ParallelItems, load_items
from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.models import load_babel
from xalign.babel.splits import take_meanings
from xalign.pairs.conllu import load_annotated
from xalign.pairs.derived_pairs import derived_pairs
from xalign.pairs.item import MinimalPair
from xalign.probing import probe_minimal_pairs

BABEL, REAL, DRAWS = 150, 200, 3
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def verb_pairs(meanings, language):
    """Return sentences whose verb stands in another form: as many present as infinitive ones."""
    found = {"present": [], "infinitive": []}
    for meaning in meanings:
        forms = load_lexicon().actions[meaning.action].forms[language]
        good = meaning.sentence(language)
        for form, other in (("present", "infinitive"), ("infinitive", "present")):
            if good.count(f" {forms[form]} ") == 1 and forms[form] != forms[other]:
                bad = good.replace(f" {forms[form]} ", f" {forms[other]} ")
                found[form].append(MinimalPair(good, bad, "form"))
                break
    half = BABEL // 2
    return [pair for both in zip(*(own[:half] for own in found.values()), strict=True) for pair in both]


def object_pairs(meanings, language):
    """Return sentences with the object of another one, for both of which it is none."""
    lexicon, found, waiting = load_lexicon(), [], []
    for meaning in meanings:
        taken = lexicon.actions[meaning.action].prefers["objects"]
        for other in waiting:
            theirs = lexicon.actions[other.action].prefers["objects"]
            if other.object not in taken and meaning.object not in theirs:
                for one, two in ((meaning, other), (other, meaning)):
                    bad, group = replace(one, object=two.object).sentence(language), str(len(found) // 2)
                    found.append(MinimalPair(one.sentence(language), bad, "meaning", group))
                waiting.remove(other)
                break
        else:
            waiting.append(meaning)
    return found[:BABEL]


def show(title, found):
    """Print the best layer of each task and language, and what English taught of the others."""
    print(f"\n**{title}**\n")
    columns = ("task", "language", "probe, best layer [95 %]", "layer", "95 % of it from", "control")
    columns += ("model prefers good", "from English")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    summary = found.summary()
    for row in summary:
        if row["language"] != row["trained_on"]:
            continue
        over = [
            one["competence"]
            for one in summary
            if (one["task"], one["language"], one["trained_on"]) == (row["task"], row["language"], "eng_Latn")
        ]
        transfer = f"{over[0]:.2f}" if over and row["language"] != "eng_Latn" else "–"
        preferred = "–" if row["performance"] is None else f"{row['performance']:.2f}"
        print(
            f"| {row['task']} | {row['language']} | {row['competence']:.2f} "
            f"[{row['low']:.2f}, {row['high']:.2f}] | {row['maximum']} | {row['saturation']} | "
            f"{row['control']:.2f} | {preferred} | {transfer} |",
            flush=True,
        )
    for task in dict.fromkeys(row["task"] for row in found.rows):
        curve = {}
        for row in found.where(task=task):
            if row["language"] == row["trained_on"]:
                curve.setdefault(row["layer"], []).append(row["accuracy"])
        means = " ".join(f"{layer} {sum(own) / len(own):.2f}" for layer, own in curve.items())
        print(f"\n{task}, mean of languages by layer: {means}", flush=True)


torch.set_num_threads(1)
meanings = take_meanings(3000, seed=3, split="held_out")
random.Random(0).shuffle(meanings)
inflected = [code for code in LANGUAGES.values() if code != "zho_Hans"]
tasks = {
    "form": ParallelItems({code: verb_pairs(meanings, code) for code in inflected}, is_aligned=False),
    "meaning": ParallelItems({code: object_pairs(meanings, code) for code in LANGUAGES.values()}),
}
for pool in ("last", "mean"):
    for name in ("aligned", "unaligned"):
        found = probe_minimal_pairs(*load_babel(name), tasks, pool=pool, transfer=True, draws=DRAWS)
        show(f"Babel, {name}, {pool} token(s)", found)

folder = Path(os.environ.get("XALIGN_DATA", "../shared/data"))
if folder.is_dir():
    model, tokenizer = AutoModel.from_pretrained(MODEL).eval(), AutoTokenizer.from_pretrained(MODEL)
    languages = ["eng_Latn", "deu_Latn", "rus_Cyrl"]
    sentences = load_annotated(folder / "pud" / "conllu", languages)
    tasks = {
        "agreement": load_items(folder / "clams", languages[1:]).sample(REAL, seed=0),
        "form": derived_pairs(sentences, "form", n=REAL),
        "meaning": derived_pairs(sentences, "meaning", n=REAL),
    }
    for pool in ("last", "mean"):
        found = probe_minimal_pairs(model, tokenizer, tasks, pool=pool, transfer=True, draws=DRAWS)
        show(f"all-MiniLM-L6-v2, {pool} token(s)", found)
