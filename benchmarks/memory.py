"""Measure how much memory a measurement takes, with few and many languages, and with few and many pairs.

    python benchmarks/memory.py            # about 15 CPU-minutes
    python benchmarks/memory.py --smoke    # seconds

A model of the shape of a 135M one measures the four default metrics on short sentences, each time in a
process of its own. Peaks are of the process's resident memory, as Linux counts it.

    languages   peak with 50 languages ÷ peak with 2, 20 pairs each. The goal is at most 1.03.
    pairs       bytes per pair and language: what 1,000 pairs take over 100, with 2 languages. What is held by
                design are the states of the pivot and of one language, per pair and reading.
"""

import argparse
import json
import statistics
import subprocess
import sys

import torch
from clock import machine, parser_of, peak_bytes, resident, write
from models import make_model
from texts import byte_level_tokenizer

from xalign import ParallelPairs, load_pairs
from xalign.measurement import Measurement
from xalign.pairs.bitext import Bitext

CPU = torch.device("cpu")


def sentences(languages, n):
    """Return pairs in as many languages as asked for: bundled ones, again and again, under other names."""
    bundled = load_pairs("bundled")
    some = list(bundled.values())
    bitexts = []
    for number in range(languages):
        given = some[number % len(some)]
        rows = [row % len(given.sentences) for row in range(n)]
        first, second = chr(97 + number // 26), chr(97 + number % 26)
        code = f"q{first}{second}_Latn"
        mark = [f"{row} " if row >= len(given.sentences) else "" for row in range(n)]
        texts = tuple(mark[k] + given.sentences[row] for k, row in enumerate(rows))
        english = tuple(mark[k] + given.pivot_sentences[row] for k, row in enumerate(rows))
        bitexts.append(Bitext(code, bundled.pivot, texts, english, tuple(map(str, range(n)))))
    return ParallelPairs.from_bitexts(bitexts)


def one(shape, languages, n):
    """Measure once in this process; return its peaks in bytes."""
    torch.set_num_threads(1)
    pairs = sentences(languages, n)
    model = make_model(shape, CPU, torch.float32)
    few = sentences(2, 8)
    Measurement(model, byte_level_tokenizer(few), few).run()  # what any run takes once
    measurement, found = Measurement(model, byte_level_tokenizer(pairs), pairs), []
    over = peak_bytes(lambda: found.append(measurement.run()), CPU)
    return {"resident": resident("VmHWM"), "over_the_start": over, "states": found[0].cost.peak_bytes}


def apart(shape, languages, n):
    """Measure once in a process of its own."""
    command = [sys.executable, __file__, "--one", shape, str(languages), str(n)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    """Run both parts, and print and write what they found."""
    parser = parser_of(__doc__)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # shape, languages, pairs
    options = parser.parse_args()
    if options.one:
        shape, languages, n = options.one
        print(json.dumps(one(shape, int(languages), int(n))))
        return
    shape, many, few_pairs, many_pairs = "135M", 50, 100, 1000
    if options.smoke:
        options.runs, shape, many, few_pairs, many_pairs = 1, "smoke", 4, 10, 20
    rows = [{"2": apart(shape, 2, 20), "many": apart(shape, many, 20)} for _ in range(options.runs)]
    ratios = [row["many"]["resident"] / row["2"]["resident"] for row in rows]
    few, more = apart(shape, 2, few_pairs), apart(shape, 2, many_pairs)
    per_pair = {name: (more[name] - few[name]) / (many_pairs - few_pairs) for name in few}
    found = {
        "machine": machine(CPU),
        "languages": {"many": many, "runs": rows, "ratios": ratios, "median": statistics.median(ratios)},
        "pairs": {"few": few_pairs, "many": many_pairs, "bytes": [few, more], "per_pair": per_pair},
    }
    print(f"{many} languages ÷ 2:", " ".join(f"{ratio:.3f}" for ratio in ratios), end=" ")
    print(f"median {statistics.median(ratios):.3f}")
    print("bytes per pair:", {name: round(value) for name, value in per_pair.items()})
    write(options.out, found)


if __name__ == "__main__":
    main()
