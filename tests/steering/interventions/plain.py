"""What interventions must compute, with plain hooks of torch. Nothing of xalign is used.

Every prompt runs alone, without padding and without a cache, so that a position is a column.
"""

from contextlib import ExitStack

import torch

from tests.tiny import make_model, make_tokenizer

FAMILIES = ("llama", "gpt2", "qwen3")
BLOCKS = {"llama": "model.layers", "qwen3": "model.layers", "gpt2": "transformer.h"}
PARTS = {
    "llama": {"attn_out": "self_attn", "mlp_out": "mlp", "gate": "mlp.gate_proj", "inner": "mlp.down_proj"},
    "gpt2": {"attn_out": "attn", "mlp_out": "mlp", "gate": "mlp.c_fc", "inner": "mlp.c_proj"},
}
PARTS["qwen3"] = PARTS["llama"]
TEXTS = {
    "eng_Latn": ["It rains today.", "Good night, my friend.", "The house is red.", "We eat bread."],
    "deu_Latn": ["Es regnet heute.", "Gute Nacht, mein Freund.", "Das Haus ist rot.", "Wir essen Brot."],
    "spa_Latn": ["Hoy llueve.", "Buenas noches, amigo.", "La casa es roja.", "Comemos pan."],
}
PROMPTS = ["Das Wetter ist heute", "Guten Morgen"]
SOURCES = ["The weather is", "Good morning to you"]


def ids_of(text):
    return make_tokenizer()(text)["input_ids"]


def padded(prompts, side="left"):
    """A batch of prompts, padded."""
    rows = [ids_of(one) for one in prompts]
    width = max(map(len, rows))
    pads = [[0] * (width - len(row)) for row in rows]
    left = side == "left"
    ids = [pad + row if left else row + pad for pad, row in zip(pads, rows, strict=True)]
    mask = [
        [0] * len(pad) + [1] * len(row) if left else [1] * len(row) + [0] * len(pad)
        for pad, row in zip(pads, rows, strict=True)
    ]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def module_of(model, family, kind, layer):
    """The module, and whether its input is meant."""
    block = model.get_submodule(f"{BLOCKS[family]}.{layer}")
    if kind in ("input", "output"):
        return block, kind == "input"
    return block.get_submodule(PARTS[family][kind]), kind == "inner"


def _states(output):
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def run(model, family, ids, edits=(), looks=()):
    """Run one sequence; return its logits [column, token] and what was seen at `looks` [column, unit].

    edits: (kind, layer) -> a function of the values [column, unit]; looks: (kind, layer), before the edits
    """
    seen, edits = {}, dict(edits)
    with ExitStack() as stack:
        for place in {*edits, *looks}:
            module, is_input = module_of(model, family, *place)

            def changed(values, place=place):
                seen[place] = values[0].clone()
                return edits[place](values[0].clone()).unsqueeze(0) if place in edits else values

            if is_input:

                def before(module, args, kwargs, changed=changed):
                    if args:
                        return (changed(args[0]), *args[1:]), kwargs
                    return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

                handle = module.register_forward_pre_hook(before, with_kwargs=True)
            else:

                def after(module, args, output, changed=changed):
                    new = changed(_states(output))
                    return (new, *output[1:]) if isinstance(output, tuple) else new

                handle = module.register_forward_hook(after)
            stack.callback(handle.remove)
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits, seen


def continued(model, family, ids, tokens, edits):
    """Logits [new, token] of each of the tokens that follow a prompt, from one run of the whole sequence."""
    logits, _ = run(model, family, [*ids, *tokens[:-1]], edits)
    return logits[len(ids) - 1 :]


@torch.no_grad()
def generated(model, batch, new=5, **options):
    """Logits [sentence, new, token] of a batch that `generate` continues, and the new tokens."""
    out = model.generate(
        **batch,
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
        **options,
    )
    return torch.stack(out.logits, dim=1), out.sequences[:, batch["input_ids"].shape[1] :].tolist()


def at(column, change):
    """An edit of one column."""

    def edit(values):
        values[column] = change(values[column])
        return values

    return edit


def model_of(family, **options):
    return make_model(family, **options)
