"""Count how much of what a measurement runs is padding.

    python benchmarks/padding.py                   # seconds, no forward; needs XALIGN_DATA
    python benchmarks/padding.py --runs 5          # and about 10 CPU-minutes of forwards
    python benchmarks/padding.py --runs 1 --smoke  # seconds, bundled text

Batches of 100 NTREX sentences in eleven languages of unlike length, as multilingual-e5-small's tokenizer cuts
them, at the default token budget: as many sentences as fit, and as `measure` makes them for a model of 135M
and of e5-small's shape on a CPU (see `xalign.model.batch_cost`). The goal is at most 6 % padding.

With runs, the model of 135M (random weights, one thread) reads the German sentences in either kind of
batches, in turn, and the ratio of the CPU times is printed.
"""

import argparse
import os
from pathlib import Path

import torch
from clock import alternate, machine, ratio, write
from models import make_model
from texts import byte_level_tokenizer, longer_sentences
from transformers import BertConfig, BertModel

from xalign import load_pairs
from xalign.model.architectures.sites import Reading, Site
from xalign.model.batch_cost import batch_cost
from xalign.model.batches import make_batches
from xalign.model.read import read_states

LANGUAGES = ["deu_Latn", "fra_Latn", "fin_Latn", "rus_Cyrl", "swh_Latn", "tam_Taml", "hin_Deva", "arb_Arab"]
LANGUAGES += ["zho_Hans", "jpn_Jpan"]
BUDGET = 4096

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--runs", type=int, default=0, help="how often the forwards are timed")
parser.add_argument("--out", type=Path, help="write the counts into this file as JSON")
parser.add_argument("--smoke", action="store_true", help="bundled text and a tokenizer made of it")
arguments = parser.parse_args()
if arguments.smoke:
    pairs = longer_sentences(20)
    tokenizer = byte_level_tokenizer(pairs)
else:
    from tests.realmodels.e5 import load_e5

    pairs = load_pairs(Path(os.environ["XALIGN_DATA"]) / "ntrex", LANGUAGES, n=100)
    tokenizer = load_e5()[1]
texts = {pairs.pivot: pairs[next(iter(pairs))].pivot_sentences}
texts |= {code: bitext.sentences for code, bitext in pairs.items()}
llama = make_model("smoke" if arguments.smoke else "135M", torch.device("cpu"), torch.float32)
e5 = BertModel(BertConfig(hidden_size=384, intermediate_size=1536, num_attention_heads=12, vocab_size=64))
costs = {"as many as fit": None, "135M": batch_cost(llama), "e5-small": batch_cost(e5)}


def batches_of(sentences, cost):
    """Return the batches of some sentences."""
    lines = [(tuple(ids), (True,) * len(ids)) for ids in tokenizer(list(sentences))["input_ids"]]
    return make_batches(lines, pad_id=0, token_budget=BUDGET, per_batch=cost)


found = {}
for name, cost in costs.items():
    batches = [batch for sentences in texts.values() for batch in batches_of(sentences, cost)]
    real = sum(int(batch.real.sum()) for batch in batches)
    run = sum(batch.pooled.numel() for batch in batches)
    found[name] = {"batch_cost": cost, "forwards": len(batches), "tokens": real, "run": run}
    print(f"{name}: {len(batches)} forwards, {run:,} tokens run, {1 - real / run:.1%} of them padding")

if arguments.runs:
    torch.set_num_threads(1)
    readings = [Reading(Site("hidden", block)) for block in range(llama.config.num_hidden_layers)]

    def reads(cost):
        """Return a call that reads the German sentences."""
        batches = batches_of(texts["deu_Latn"], cost)
        for batch in batches:
            batch.inputs["input_ids"].remainder_(
                llama.config.vocab_size
            )  # the tokenizer has more tokens than the model
        return lambda: read_states(llama, batches, readings)

    calls = {name: reads(costs[name]) for name in ("as many as fit", "135M")}
    taken = alternate(calls, arguments.runs, torch.device("cpu"))
    found["time"] = ratio(taken, "as many as fit", "135M")
    print(f"as many as fit ÷ 135M: {found['time']}")
write(arguments.out, {"machine": machine(torch.device("cpu"))} | found)
