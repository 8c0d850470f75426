"""What the pair branch of an alignment loss costs, on a Llama of SmolLM2-135M's shape with random weights.

    python benchmarks/alignment_step.py        # about 5 CPU-minutes

Forward, loss and backward of 16 pairs that end after the middle block, against the same tokens through the
whole model without its head. CPU time, the two alternating; the median of 5 ratios is what counts.
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
# The last block's output, one norm and no head away from the end.
whole = AlignmentObjective(model, make_tokenizer(), pairs, layer=1.0, **options)


def seconds(objective, step):
    """CPU time of one forward, loss and backward."""
    model.zero_grad()
    started = time.process_time()
    objective(step).backward()
    return time.process_time() - started


seconds(middle, 0), seconds(whole, 0)  # the first of each warms up
ratios = []
for run in range(RUNS):
    order = [middle, whole] if run % 2 else [whole, middle]
    taken = {objective: seconds(objective, run) for objective in order}
    ratios.append(taken[middle] / taken[whole])
    print(
        f"run {run}: {taken[middle]:.2f} s against {taken[whole]:.2f} s of CPU, {ratios[-1]:.3f}", flush=True
    )
print(f"\nmiddle of 30 blocks ÷ whole model without head: median {np.median(ratios):.3f}")
