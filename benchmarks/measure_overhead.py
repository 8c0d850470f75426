"""Measure the cost of `measure`, relative to the bare forward passes that it contains.

    python benchmarks/measure_overhead.py                         # about 20 CPU-minutes
    python benchmarks/measure_overhead.py --shape encoder         # or 360M, GPT-2, "small MoE"
    python benchmarks/measure_overhead.py --smoke                 # seconds

A model of a known shape with random weights measures NASCA, NAVCA, MEXA and retrieval on 5 × 100 NTREX
sentences; by default a Llama of 135M (30 layers, width 576, FFN 1536, vocabulary 49152). Each batch also goes
through the bare model, alternately before and after, so that other load on the machine affects both alike.
The ratio of a run is the CPU time of the whole measurement, with scoring, over that of the bare forward
passes. The last line is the median over runs; the goal is at most 1.03, and it must be at most 1.08.

Reads the folder that XALIGN_DATA names (default: ../shared/data). Without it, the script measures on 100
of the bundled sentences, three joined to one, and says so.
"""

import statistics
import time
from typing import Any

import torch
from clock import machine, parser_of, write
from models import SHAPES, make_model
from texts import byte_level_tokenizer, longer_sentences, parallel_sentences

from xalign.measurement import Measurement
from xalign.model import read

CPU = torch.device("cpu")


def main() -> None:
    """Run the benchmark, and print the median ratio last."""
    parser = parser_of(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="135M")
    parser.add_argument("--pairs", type=int, default=100, help="sentences of each language")
    options = parser.parse_args()
    runs, shape = (1, "smoke") if options.smoke else (options.runs, options.shape)

    pairs = longer_sentences(10) if options.smoke else parallel_sentences(options.pairs)
    model = make_model(shape, CPU, torch.float32)
    measurement = Measurement(model, byte_level_tokenizer(pairs), pairs)
    print(f"{measurement.forwards} forward passes of {measurement.tokens} tokens, torch {torch.__version__}")

    bare_seconds: list[float] = []
    read_batch = read._read_batch

    def both(model: Any, model_map: Any, batch: Any, readings: Any) -> Any:
        def bare() -> None:
            started = time.process_time()
            read.run(model, batch)
            bare_seconds.append(time.process_time() - started)

        before = len(bare_seconds) % 2 == 0
        if before:
            bare()
        states = read_batch(model, model_map, batch, readings)
        if not before:
            bare()
        return states

    read._read_batch = both  # type: ignore[assignment]
    ratios = []
    for number in range(runs + 1):
        bare_seconds.clear()
        total = measurement.run().cost.cpu_seconds
        bare = sum(bare_seconds)
        if number:  # the first run is a warm-up
            ratios.append((total - bare) / bare)
            print(
                f"run {number}: bare {bare:.1f} CPU-s, measured {total - bare:.1f} CPU-s, ratio "
                f"{ratios[-1]:.3f}"
            )
    print(f"ratio {statistics.median(ratios):.3f}")
    sizes = {"shape": shape, "pairs": options.pairs}
    write(options.out, {"machine": machine(CPU), **sizes, "measured_by_bare": ratios})


if __name__ == "__main__":
    main()
