r"""Measure the cost of an alignment loss's pair forward, on a random Llama of SmolLM2-135M's shape.

    python benchmarks/alignment_step.py        # about 10 CPU-minutes
    python benchmarks/alignment_step.py --smoke

Compares steps (forward, loss and backward) on the same 16 pairs, alternating, and gives medians of 5 ratios
of their CPU times:

    middle      stops after the middle block
    all         reads every block
    together    stops after the middle block, all sentences padded to the longest in one forward
    plain       the same sentences as a plain second batch: padded to the longest, through the whole model but
                its head
    fork        as mid-align's fork does: blocks up to the middle, a batch for each side, padded to its
                longest and to a multiple of 8
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from clock import machine, write
from transformers import LlamaConfig, LlamaForCausalLM

from xalign import AlignmentObjective, load_pairs
from xalign.babel.tokenizer import make_tokenizer
from xalign.losses.contrastive import contrastive

PAIRS = 16

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", type=Path, help="write the ratios into this file as JSON")
parser.add_argument("--smoke", action="store_true", help="a small model and one run, to see that it works")
arguments = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(0)
runs = 1 if arguments.smoke else 5
sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
if arguments.smoke:
    sizes |= {"hidden_size": 72, "intermediate_size": 192, "num_hidden_layers": 4}
model = LlamaForCausalLM(
    LlamaConfig(**sizes, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
).train()
pairs = load_pairs("bundled", ["deu_Latn"])
options = {"batch_size": PAIRS, "loss": "contrastive"}
middle = AlignmentObjective(model, make_tokenizer(), pairs, layer=0.5, **options)
every = AlignmentObjective(model, make_tokenizer(), pairs, layer="all", **options)
together = AlignmentObjective(model, make_tokenizer(), pairs, layer=0.5, **options)
together._forward.per_batch = 10**6


def fork(step):
    """Return the loss of both sides, a batch each, from the blocks up to the middle."""
    drawn = middle._stream.draw(step, 0, 0)
    return contrastive(*(half(lines) for lines in (drawn.language_lines, drawn.pivot_lines)))


def half(lines):
    """Return the mean-pooled states of the middle block."""
    blocks, norm = model.model.layers, model.model.norm
    model.model.layers, model.model.norm = blocks[: len(blocks) // 2], torch.nn.Identity()
    try:
        return pooled(lines, multiple=8)
    finally:
        model.model.layers, model.model.norm = blocks, norm


def pooled(lines, multiple=1):
    """Return the mean-pooled final states of sentences in one batch."""
    longest = -(-max(len(ids) for ids, _ in lines) // multiple) * multiple
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one, _ in lines])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one, _ in lines])
    states = model.model(ids, attention_mask=mask, use_cache=False).last_hidden_state
    return (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def plain(step):
    """Return the loss of both sides in one batch, from the end of the model."""
    drawn = middle._stream.draw(step, 0, 0)
    return contrastive(*pooled([*drawn.language_lines, *drawn.pivot_lines]).chunk(2))


def seconds(arm, step):
    """Return the CPU time of one forward, loss and backward, in seconds."""
    model.zero_grad()
    started = time.process_time()
    arm(step).backward()
    return time.process_time() - started


ARMS = {"middle": middle, "all": every, "together": together, "plain": plain, "fork": fork}
RATIOS = [("middle", "plain"), ("all", "plain"), ("middle", "together"), ("middle", "fork")]
ratios = {" ÷ ".join(pair): [] for pair in RATIOS}
for arm in ARMS.values():
    seconds(arm, 0)  # the first step of each is a warm-up
for run in range(runs):
    names = list(ARMS) if run % 2 else list(ARMS)[::-1]
    taken = {name: seconds(ARMS[name], run) for name in names}
    for one, other in RATIOS:
        ratios[f"{one} ÷ {other}"].append(taken[one] / taken[other])
    print(f"run {run}: " + ", ".join(f"{name} {taken[name]:.2f} s" for name in ARMS), flush=True)
for name, found in ratios.items():
    print(f"{name}: median {np.median(found):.3f}, {min(found):.3f} to {max(found):.3f}")
write(arguments.out, {"machine": machine(torch.device("cpu"))} | ratios)
