"""Measure the cost of `measure`, relative to the bare forward passes that it contains.

    python benchmarks/measure_overhead.py            # about 20 CPU-minutes

A Llama of the shape of a 135M model (30 layers, width 576, FFN 1536, vocabulary 49152, random weights)
measures NASCA, NAVCA, MEXA and retrieval on 5 × 100 NTREX sentences. Each batch also goes through the bare
model, alternately before and after, so that other load on the machine affects both alike. The ratio of a run
is the CPU time of the whole measurement, with scoring, over that of the bare forward passes. The last line is
the median over runs; the goal is at most 1.15.

Reads the folder that XALIGN_DATA names (default: ../shared/data). Without it, the script measures on 100 of
the bundled sentences, and says so.
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import xalign
from xalign.measurement import Measurement
from xalign.model import read

LANGUAGES = ["deu_Latn", "fra_Latn", "rus_Cyrl", "zho_Hans"]


def byte_level_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the sentences themselves."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def main() -> None:
    """Run the benchmark, and print the median ratio last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs

    data = Path(os.environ.get("XALIGN_DATA", "../shared/data")) / "ntrex"
    if data.is_dir():
        pairs = xalign.load_pairs(data, LANGUAGES, n=100)
    else:
        print(f"{data} is absent; measuring on the bundled sentences")
        pairs = xalign.load_pairs("bundled", n=100)

    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=30,
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
    )
    model = LlamaForCausalLM(config)
    texts = [text for bitext in pairs.values() for text in (*bitext.pivot_sentences, *bitext.sentences)]
    measurement = Measurement(model, byte_level_tokenizer(texts, 8000), pairs)
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
