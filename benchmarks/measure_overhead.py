"""Measure the cost of `measure`, relative to the bare forward passes that it contains.

    python benchmarks/measure_overhead.py            # about 20 CPU-minutes

A Llama of the shape of a 135M model (30 layers, width 576, FFN 1536, vocabulary 49152, random weights)
measures NASCA, NAVCA, MEXA and retrieval on 5 × 100 NTREX sentences. Each batch also goes through the bare
model, alternately before and after, so that other load on the machine affects both alike. The ratio of a run
is the CPU time of the whole measurement, with scoring, over that of the bare forward passes. The last line is
the median over runs; the goal is at most 1.15.

Reads the folder that XALIGN_DATA names (default: ../shared/data). Without it, the script measures on 100
of the bundled sentences, three joined to one, and says so.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from models import make_model
from texts import byte_level_tokenizer, parallel_sentences

from xalign.measurement import Measurement
from xalign.model import read


def main() -> None:
    """Run the benchmark, and print the median ratio last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs

    pairs = parallel_sentences()
    model = make_model("135M", torch.device("cpu"), torch.float32)
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


if __name__ == "__main__":
    main()
