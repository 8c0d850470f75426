r"""Ask whether a dictionary aligns a model without any parallel sentence, on Babel.

    python benchmarks/dictionary_only.py runs/dictionary_only            # five arms, 5 seeds, an hour
    python benchmarks/dictionary_only.py runs/smoke --smoke              # seconds, to see that it runs

Every arm learns the transfer task from English sentences and trains on single sentences of all languages,
none of which translates another. All but `none` add the neuron-state loss at all blocks, on pairs of:

    words           a content word of Babel's lexicon and its translation
    code-switched   an English sentence with a fifth of its words replaced, and the sentence
    substituted     the same with every word replaced that the dictionary has (about 38 %)
    parallel        a sentence and its translation: the ceiling

The unaligned model that all start from did learn from translations, from and into English. Arms are paired by
seed. Writes one JSON file per arm and seed, which a second call does not run again, and prints a table.
"""

import argparse
import json
import random
import warnings
from pathlib import Path

import numpy as np
import torch
from transfer_run import ALIGNMENT, LANGUAGES, PAIRS, STEPS, learn, look, others

from xalign.babel import load_babel, write_pairs
from xalign.babel.dictionary import babel_dictionary
from xalign.babel.splits import take_meanings
from xalign.babel.transfer import intent_accuracy
from xalign.model.batches import pad_documents
from xalign.pairs.code_switch import code_switch
from xalign.pairs.word_pairs import word_pairs
from xalign.statistics.intervals import bootstrap_interval
from xalign.training.objective import AlignmentObjective

ARMS = ("none", "words", "code-switched", "substituted", "parallel")

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=5, help="run the seeds below this")
parser.add_argument("--first_seed", type=int, default=0, help="skip the seeds below this")
parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
parser.add_argument("--test", type=int, default=1000, help="test sentences per language")
parser.add_argument("--steps", type=int, default=STEPS)
parser.add_argument("--smoke", action="store_true", help="two seeds of two steps each, to see that it runs")
arguments = parser.parse_args()
if arguments.smoke:
    arguments.seeds, arguments.first_seed, arguments.steps, arguments.test = 2, 0, 2, 50
torch.set_num_threads(1)
warnings.filterwarnings(
    "ignore", message="the pairs hold repeated sentences"
)  # never negatives of each other
arguments.out.mkdir(parents=True, exist_ok=True)
DICTIONARIES = [babel_dictionary(code) for code in LANGUAGES[1:]]
tested = take_meanings(arguments.test, 0, "task")
held_out = write_pairs(100, 0, "held_out")
unseen = take_meanings(100 if arguments.smoke else 400, 1, "held_out")


def pairs_of(arm, seed):
    """Write the pairs that an arm aligns."""
    parallel = write_pairs(2000, seed, "train")
    english = parallel["deu_Latn"].pivot_sentences
    if arm == "words":
        return word_pairs(DICTIONARIES)
    if arm == "code-switched":
        return code_switch(english, DICTIONARIES, share=0.2, seed=seed)
    if arm == "substituted":
        return code_switch(english, DICTIONARIES, share=1, seed=seed)
    return parallel


def train(arm, seed):
    """Train one arm with one seed, and return its outcomes."""
    model, tokenizer = load_babel("unaligned")
    objective = None
    if arm != "none":
        pairs = pairs_of(arm, seed)
        objective = AlignmentObjective(
            *(model, tokenizer, pairs),
            **ALIGNMENT | {"held_out": held_out, "seed": seed},
        )
    # A meaning for each language: no two of these sentences translate one another.
    meanings = take_meanings(2000 * len(LANGUAGES), 1000 + seed, "train")
    spoken = {code: meanings[place :: len(LANGUAGES)] for place, code in enumerate(LANGUAGES)}

    def documents(step, _):
        """Write single sentences of all languages; they are the same for all arms of a seed."""
        draw = random.Random(f"documents {seed} {step}")
        texts = []
        for _ in range(PAIRS):
            code = draw.choice(LANGUAGES)
            texts.append(draw.choice(spoken[code]).sentence(code))
        return pad_documents([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts])

    head, seconds = learn(
        model, tokenizer, seed, steps=arguments.steps, documents=documents, objective=objective
    )
    accuracy = intent_accuracy(model.model, head, tokenizer, tested)
    return {"accuracy": accuracy, "cpu_seconds": seconds} | look(model, tokenizer, held_out, unseen)


found = {}
for seed in range(arguments.first_seed, arguments.seeds):
    for arm in arguments.arms:
        kept = arguments.out / f"{arm}-{seed}.json"
        if not kept.exists():
            kept.write_text(json.dumps(train(arm, seed), indent=1))
        found[arm, seed] = json.loads(kept.read_text())
        told = {code[:3]: round(value, 3) for code, value in found[arm, seed]["accuracy"].items()}
        print(arm, seed, told, f"{found[arm, seed]['cpu_seconds']:.0f} CPU s", flush=True)

FIGURES = {
    "zero-shot": lambda run: others(run["accuracy"]),
    "English": lambda run: run["accuracy"]["eng_Latn"],
    "LM loss": lambda run: float(np.mean(list(run["sentence_loss"].values()))),
    "NASCA with separator": lambda run: others(run["nasca"]),
    "NASCA, plain": lambda run: others(run["nasca_plain"]),
}
seeds = range(arguments.first_seed, arguments.seeds)
print(f"\n{len(seeds)} seeds, {arguments.steps} steps, {arguments.test} test sentences a language\n")
print(f"| pairs | {' | '.join(FIGURES)} | CPU s |\n|{'---|' * (len(FIGURES) + 2)}")
for arm in arguments.arms:
    row = []
    for figure in FIGURES.values():
        values = np.array([figure(found[arm, seed]) for seed in seeds])
        cell = f"{values.mean():.3f}"
        if arm != "none" and "none" in arguments.arms and len(seeds) > 1:
            gains = values - np.array([figure(found["none", seed]) for seed in seeds])
            low, high = bootstrap_interval(gains)
            cell += f" ({gains.mean():+.3f} [{low:+.3f}, {high:+.3f}])"
        row.append(cell)
    seconds = np.median([found[arm, seed]["cpu_seconds"] for seed in seeds])
    print(f"| {arm} | {' | '.join(row)} | {seconds:.0f} |")
