"""Measure what all metrics cost beside the default four: CPU time as a ratio, and memory by languages.

    python benchmarks/all_metrics.py              # about 3 CPU-minutes

Babel's aligned model (6 layers, width 128) and all-MiniLM-L6-v2 (6 layers, width 384) measure 100 bundled or
written pairs of four languages, the default four metrics and all of them by turns. The goal is a ratio of at
most 2.5 and a peak of states that does not grow with languages. Every forward is run once for both.
"""

import argparse
import statistics

import torch
from transformers import AutoModel, AutoTokenizer

from xalign import load_pairs
from xalign.babel.models import load_babel
from xalign.babel.write import write_pairs
from xalign.measurement import Measurement
from xalign.measurement.run import DEFAULT_METRICS

MODEL = "sentence-transformers/all-MiniLM-L6-v2"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--runs", type=int, default=5)
runs = parser.parse_args().runs
torch.set_num_threads(1)

minilm = AutoModel.from_pretrained(MODEL).eval(), AutoTokenizer.from_pretrained(MODEL)
for name, (model, tokenizer), pairs in (
    ("Babel", load_babel("aligned"), write_pairs(100, seed=0, split="held_out")),
    ("all-MiniLM-L6-v2", minilm, load_pairs("bundled", n=100)),
):
    default = Measurement(model, tokenizer, pairs, DEFAULT_METRICS)
    everything = Measurement(model, tokenizer, pairs, ["all"])
    ratios = []
    for number in range(runs + 1):
        costs = [one.run().cost for one in (default, everything)]
        if number:  # the first run warms up
            ratios.append(costs[1].cpu_seconds / costs[0].cpu_seconds)
    peaks = [
        Measurement(model, tokenizer, pairs.only(list(pairs)[:count]), ["all"]).run().cost.peak_bytes
        for count in (1, 2, 4)
    ]
    print(
        f"{name}: {len(everything.metrics)} metrics in {everything.forwards} forwards (default "
        f"{default.forwards}), {statistics.median(ratios):.2f} times the default four; peak of states for 1, "
        f"2 and 4 languages: {', '.join(f'{peak / 2**20:.1f}' for peak in peaks)} MiB",
        flush=True,
    )
