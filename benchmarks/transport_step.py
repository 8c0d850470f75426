"""Measure what token transport adds to a training step, beside the contrastive loss on the same pairs.

    python benchmarks/transport_step.py                    # about 2 CPU-minutes
    python benchmarks/transport_step.py --layer all --debiased
    python benchmarks/transport_step.py --smoke            # seconds

Both steps (forward, loss and backward) run 32 pairs of 32 tokens through Babel's aligned model, whose states
are those of a model that has learnt something: its plans need more iterations than those of random states.
With `--width` it is a random Llama of that width instead. The steps alternate, and the result is the median
over runs of the ratio of their CPU times (on a GPU: of their wall times).
"""

from dataclasses import replace
from functools import partial

import torch
from clock import alternate, machine, parser_of, ratio, write
from transformers import LlamaConfig, LlamaForCausalLM

from xalign import AlignmentObjective, ParallelPairs
from xalign.babel import load_babel, write_pairs
from xalign.losses.transport import TRANSPORT, transport

PAIRS, TOKENS = 32, 32

parser = parser_of(__doc__)
parser.add_argument("--layer", default="0.5", help="where both losses act, as in AlignmentConfig")
parser.add_argument("--debiased", action="store_true")
parser.add_argument("--width", type=int, help="of a random Llama of 6 blocks, in place of Babel's model")
parser.add_argument("--device", default="cpu")
options = parser.parse_args()
device = torch.device(options.device)

torch.manual_seed(0)
model, tokenizer = load_babel("aligned")
if options.width is not None:
    sizes = {"hidden_size": options.width, "intermediate_size": 4 * options.width, "num_hidden_layers": 6}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads))
model = model.train().to(device)

# As many sentences of Babel in a row as give 32 tokens, and cut there.
single = write_pairs(800, seed=0)
texts = {single.pivot: list(single[next(iter(single))].pivot_sentences)}
texts |= {code: list(bitext.sentences) for code, bitext in single.items()}
joined = {code: [" ".join(lines[row::200]) for row in range(200)] for code, lines in texts.items()}
pairs = ParallelPairs(joined, pivot=single.pivot)
common = {"batch_size": PAIRS, "layer": options.layer, "max_length": TOKENS}
loss = replace(TRANSPORT, fn=partial(transport, debiased=options.debiased))
objectives = {
    name: AlignmentObjective(model, tokenizer, pairs, loss=loss, **common)
    for name, loss in (("contrastive", "contrastive"), ("transport", loss))
}
shortest = min(len(tokenizer(line)["input_ids"]) for lines in joined.values() for line in lines)
print(
    f"{PAIRS} pairs of {min(shortest, TOKENS)} to {TOKENS} tokens a sentence, layer {options.layer}",
    flush=True,
)


def step(objective):
    """Run one forward, loss and backward."""
    model.zero_grad()
    objective(0).backward()


calls = {name: partial(step, one) for name, one in objectives.items()}
taken = alternate(calls, 1 if options.smoke else options.runs, device)
for name, times in taken.items():
    print(f"{name}: {min(times):.3f} to {max(times):.3f} s")
found = ratio(taken, "transport", "contrastive")
print("transport ÷ contrastive: median {median:.3f}, {min:.3f} to {max:.3f}".format_map(found))
write(
    options.out,
    {
        "machine": machine(device),
        "layer": options.layer,
        "debiased": options.debiased,
        "transport ÷ contrastive": found,
    },
)
