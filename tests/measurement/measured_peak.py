"""A process that measures, and prints the memory that it expected and the memory that it took."""

import json
import re
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel

import xalign
from tests.tiny import make_tokenizer


def memory(name):
    """A line of Linux' account of this process, in bytes."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024


def turned(sentences):
    """Join all sentences to one text, which begins with each in turn: texts of one length fill the budget."""
    return [" ".join(sentences[row:] + sentences[:row]) for row in range(len(sentences))]


def main(family, dtype, n, metrics, budget, sizes):
    """Print the expected and the measured peak over the weights."""
    torch.set_num_threads(1)
    config = AutoConfig.for_model(family, **sizes)
    model = AutoModel.from_config(config).to(getattr(torch, dtype)).eval()
    tokenizer = make_tokenizer()
    pairs = xalign.ParallelPairs(
        {code: turned(texts) for code, texts in xalign.load_pairs("bundled", ["deu_Latn"], n=n).texts.items()}
    )
    options = {"metrics": metrics, "token_budget": budget}
    expected = xalign.diagnose(model, tokenizer, pairs, **options).expected.memory
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = memory("VmRSS")
    xalign.measure(model, tokenizer, pairs, **options)
    found = {"expected": expected.on_device - expected.weights, "measured": memory("VmHWM") - before}
    print(json.dumps(found | {"weights": expected.weights}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
