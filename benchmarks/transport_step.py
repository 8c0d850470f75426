"""Measure what token transport adds to a training step, beside the contrastive loss on the same pairs.

    python benchmarks/transport_step.py                    # about 2 CPU-minutes
    python benchmarks/transport_step.py --layer all --debiased

Both steps (forward, loss and backward) run 32 pairs of 32 tokens through a random Llama of 6 blocks and
width 256. They alternate, and the result is the median over runs of the ratio of their CPU times (on a GPU:
of their wall times). The loss alone is timed too, on the states of one block.
"""

import argparse
from dataclasses import replace
from functools import partial

import torch
from clock import alternate, ratio
from transformers import LlamaConfig, LlamaForCausalLM

from xalign import AlignmentObjective, ParallelPairs
from xalign.babel.tokenizer import make_tokenizer
from xalign.losses.transport import TRANSPORT, transport

PAIRS, TOKENS = 32, 32

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--runs", type=int, default=7)
parser.add_argument("--layer", default="0.5", help="where both losses act, as in AlignmentConfig")
parser.add_argument("--debiased", action="store_true")
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--blocks", type=int, default=6)
parser.add_argument("--device", default="cpu")
options = parser.parse_args()
device = torch.device(options.device)

torch.manual_seed(0)
tokenizer = make_tokenizer()
config = LlamaConfig(
    hidden_size=options.width,
    intermediate_size=4 * options.width,
    num_hidden_layers=options.blocks,
    num_attention_heads=4,
    num_key_value_heads=4,
    vocab_size=len(tokenizer),
)
model = LlamaForCausalLM(config).train().to(device)

# Sentences of 32 tokens of the tokenizer's own words, each pair in two random orders.
words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())
order = torch.Generator().manual_seed(0)


def sentence():
    """Return a sentence of so many tokens as are asked for."""
    drawn = [words[i] for i in torch.randint(len(words), (TOKENS,), generator=order).tolist()]
    while len(tokenizer(" ".join(drawn))["input_ids"]) > TOKENS:
        drawn.pop()
    return " ".join(drawn)


pairs = ParallelPairs({code: [sentence() for _ in range(200)] for code in ("eng_Latn", "deu_Latn")})
common = {"batch_size": PAIRS, "layer": options.layer}
loss = replace(TRANSPORT, fn=partial(transport, debiased=options.debiased))
objectives = {
    name: AlignmentObjective(model, tokenizer, pairs, loss=loss, **common)
    for name, loss in (("contrastive", "contrastive"), ("transport", loss))
}
lengths = [len(tokenizer(text)["input_ids"]) for text in pairs["deu_Latn"].sentences]
print(f"{PAIRS} pairs, {min(lengths)} to {max(lengths)} tokens a sentence, layer {options.layer}", flush=True)


def step(objective):
    """Run one forward, loss and backward."""
    model.zero_grad()
    objective(0).backward()


taken = alternate({name: partial(step, one) for name, one in objectives.items()}, options.runs, device)
for name, times in taken.items():
    print(f"{name}: {min(times):.3f} to {max(times):.3f} s")
print(
    "transport ÷ contrastive: median {median:.3f}, {min:.3f} to {max:.3f}".format_map(
        ratio(taken, "transport", "contrastive")
    )
)

states = [torch.randn(PAIRS, TOKENS, options.width, device=device) for _ in range(2)]
masks = torch.ones(PAIRS, TOKENS, dtype=torch.bool, device=device)
alone = alternate(
    {"loss": lambda: transport(*states, language_mask=masks, pivot_mask=masks, debiased=options.debiased)},
    options.runs,
    device,
)
print(f"the transport of random states alone: {min(alone['loss']):.4f} to {max(alone['loss']):.4f} s")
