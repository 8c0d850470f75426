"""Measure the cost of an alignment loss's pair forward, on a random Llama of SmolLM2-135M's shape.

    python benchmarks/alignment_step.py        # about 5 CPU-minutes

Compares two steps (forward, loss and backward) on the same 16 pairs: one stops after the middle block, the
other runs the whole model without its head. The two alternate, and the result is the median of 5 ratios of
their CPU times.
"""

import time

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from xalign import AlignmentObjective, load_pairs
from xalign.babel.tokenizer import make_tokenizer

RUNS, PAIRS = 5, 16

torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
).train()
pairs = load_pairs("bundled", ["deu_Latn"])
options = {"batch_size": PAIRS, "loss": "contrastive"}
middle = AlignmentObjective(model, make_tokenizer(), pairs, layer=0.5, **options)
# After the last block: the whole model but its final norm and its head.
whole = AlignmentObjective(model, make_tokenizer(), pairs, layer=1.0, **options)


def seconds(objective, step):
    """Return the CPU time of one forward, loss and backward, in seconds."""
    model.zero_grad()
    started = time.process_time()
    objective(step).backward()
    return time.process_time() - started


seconds(middle, 0), seconds(whole, 0)  # the first step of each is a warm-up
ratios = []
for run in range(RUNS):
    order = [middle, whole] if run % 2 else [whole, middle]
    taken = {objective: seconds(objective, run) for objective in order}
    ratios.append(taken[middle] / taken[whole])
    print(
        f"run {run}: {taken[middle]:.2f} s against {taken[whole]:.2f} s of CPU, {ratios[-1]:.3f}", flush=True
    )
print(f"\nmiddle of 30 blocks ÷ whole model without head: median {np.median(ratios):.3f}")
