"""Fit how the cost of a measurement grows, and measure what a second process saves.

    python benchmarks/scaling.py            # about 25 CPU-minutes
    python benchmarks/scaling.py --smoke    # seconds

Exponents: a model of the width of a 135M one measures the four default metrics, while one of languages (the
pivot counted), pairs, blocks or words per sentence doubles twice. The exponent is the slope of log CPU time
over log size; 1 is a cost in proportion.

Processes: the CPU time of one process ÷ the larger one of two that share the same measurement
(`distributed=True`), each on one thread. The goal is 1.8.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing
from clock import alternate, machine, parser_of, seconds, write
from models import make_model
from texts import byte_level_tokenizer, longer_sentences

from xalign.measurement import Measurement

CPU = torch.device("cpu")
START = {"sides": 2, "pairs": 25, "blocks": 3, "words": 1}
"""Sides are the languages and the pivot; words, the number of short sentences joined to one."""


def measurement_of(shape, sides, pairs, blocks, words, **options):
    """Return a measurement of a given size."""
    every = longer_sentences(pairs, joined=words)
    chosen = every.only(list(every)[: sides - 1])
    model = make_model(shape, CPU, torch.float32, num_hidden_layers=blocks)
    return Measurement(model, byte_level_tokenizer(every), chosen, **options)


def exponents(shape, runs):
    """Return, for what is doubled twice, the CPU times and the slope of their logarithms."""
    found = {}
    for name, start in START.items():
        sizes = [start, 2 * start, 4 * start]
        calls = {str(size): measurement_of(shape, **START | {name: size}).run for size in sizes}
        taken = alternate(calls, runs, CPU)
        medians = [statistics.median(taken[str(size)]) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(medians), 1)[0])
        found[name] = {"sizes": sizes, "seconds": medians, "exponent": slope}
        print(f"{name:10s} {sizes} {[round(one, 2) for one in medians]} exponent {slope:.2f}", flush=True)
    return found


SHARED = {"sides": 5, "pairs": 50, "blocks": 12, "words": 3}


def _share(rank, folder, shape, runs):
    """Measure as one of two processes, and write down the CPU time of each run."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    measurement = measurement_of(shape, **SHARED, distributed=True)
    taken = [seconds(measurement.run, CPU) for _ in range(runs + 1)]
    (Path(folder) / str(rank)).write_text(" ".join(map(str, taken[1:])))
    torch.distributed.destroy_process_group()


def processes(shape, runs):
    """Return how many times less CPU time each of two processes takes than one alone."""
    alone = measurement_of(shape, **SHARED)
    taken = [seconds(alone.run, CPU) for _ in range(runs + 1)][1:]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_share, (folder, shape, runs), nprocs=2)
        both = [list(map(float, (Path(folder) / str(rank)).read_text().split())) for rank in range(2)]
    ratios = [one / max(shared) for one, *shared in zip(taken, *both, strict=True)]
    print("one process ÷ two:", " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)
    return {"alone": taken, "shared": both, "ratios": ratios, "median": statistics.median(ratios)}


def main() -> None:
    """Run both parts, and print and write what they found."""
    options = parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    shape, runs = ("smoke", 1) if options.smoke else ("135M", options.runs)
    found = {
        "machine": machine(CPU),
        "exponents": exponents(shape, runs),
        "processes": processes(shape, runs),
    }
    write(options.out, found)


if __name__ == "__main__":
    main()
