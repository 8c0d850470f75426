"""Time the search for language neurons against a plain re-creation of LAPE's own program.

    python benchmarks/language_neuron_speed.py            # about 15 CPU-minutes; reads XALIGN_DATA
    python benchmarks/language_neuron_speed.py --smoke    # seconds

That program joins the texts of a language to one stream, cuts it into blocks of one length without padding,
and counts at each layer how often a neuron is above 0. `language_neurons` runs every sentence by itself, so
that no sentence has another one's words before it, and also sums the values. Both run the same sentences
through the same model of the shape of a 135M one. The ratio is that of CPU times per token, on one thread.
Printed beside it is what the bare forwards of the program's blocks take, which bounds both.
"""

import torch
from clock import alternate, machine, parser_of, ratio, write
from models import make_model
from texts import byte_level_tokenizer, longer_sentences, parallel_sentences

from xalign.finding.language_neurons import language_neurons

CPU = torch.device("cpu")
BLOCK = 512


def blocks_of(tokenizer, sentences, length):
    """Return the tokens of sentences, joined and cut: [block, length]."""
    stream = torch.tensor([one for text in sentences for one in tokenizer(text)["input_ids"]])
    return stream[: len(stream) // length * length].view(-1, length)


@torch.no_grad()
def count(model, blocks):
    """Return how often each neuron of each layer is above 0, [layer, neuron]."""
    layers = model.model.layers
    found = torch.zeros(len(layers), model.config.intermediate_size, dtype=torch.long)

    def hook(number):
        def add(_module, _given, gate):
            found[number] += (torch.nn.functional.silu(gate) > 0).sum(dim=(0, 1))

        return add

    handles = [layer.mlp.gate_proj.register_forward_hook(hook(k)) for k, layer in enumerate(layers)]
    try:
        for block in blocks:
            model(block.unsqueeze(0), logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    return found


def main() -> None:
    """Time the programs in turn."""
    options = parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    runs, length = (1, 64) if options.smoke else (options.runs, BLOCK)
    pairs = longer_sentences(10) if options.smoke else parallel_sentences()
    tokenizer = byte_level_tokenizer(pairs)
    model = make_model("smoke" if options.smoke else "135M", CPU, torch.float32)
    texts = dict(pairs.texts)
    blocks = {code: blocks_of(tokenizer, sentences, length) for code, sentences in texts.items()}
    tokens = {
        "theirs": sum(one.numel() for one in blocks.values()),
        "ours": sum(len(tokenizer(text)["input_ids"]) for code in texts for text in texts[code]),
    }

    @torch.no_grad()
    def bare():
        for of_language in blocks.values():
            for block in of_language:
                model.model(block.unsqueeze(0))

    calls = {
        "ours": lambda: language_neurons(model, tokenizer, texts),
        "theirs": lambda: [count(model, one) for one in blocks.values()],
        "bare": bare,
    }
    taken = alternate(calls, runs, CPU)
    per_token = {
        name: [one / tokens.get(name, tokens["theirs"]) for one in found] for name, found in taken.items()
    }
    found = {
        "machine": machine(CPU),
        "tokens": tokens,
        "seconds": taken,
        "times_as_fast": ratio(per_token, "theirs", "ours"),
        "theirs_by_bare": ratio(per_token, "theirs", "bare"),
    }
    for name in ("tokens", "times_as_fast", "theirs_by_bare"):
        print(name, found[name])
    write(options.out, found)


if __name__ == "__main__":
    main()
