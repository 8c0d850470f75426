"""The ways of decoding, paddings and positions that steering is tested in, and what each must give."""

from dataclasses import dataclass
from functools import cache

import torch
from transformers import DynamicCache, pipeline

from tests.steering.whole_sequences import BLOCK, VECTOR, logits_of, padded, positions_of
from tests.tiny import make_model, make_tokenizer
from xalign import Site
from xalign.model.write import Edit, write

NEW, PAD = 6, 0
PROMPTS = {
    "left": [[1, 20, 31, 40, 50, 60, 71], [1, 70, 80, 93, 20]],
    "right": [[1, 20, 31, 40, 50, 60, 71], [1, 70, 80, 93, 20]],
    "none": [[1, 20, 31, 40, 50, 60, 71], [1, 70, 80, 93, 20, 44, 45]],
}
PADDINGS = tuple(PROMPTS)
POLICIES = ("all", "prompt", "generated", "last_prompt", "mask", "function")
OPTIONS = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": PAD}
TOLD = {"return_dict_in_generate": True, "output_logits": True, "output_scores": True}


@dataclass
class Steered:
    """What a way of decoding has produced.

    sequences: token ids [sentence, column]; embeds: embeddings in place of the prompt's ids
    mask: which tokens of the (last) prompt are real
    logits: those that the steered model has computed for each new token [sentence, new token, token]
    turns: for each call of `generate`, or forward by hand: its first column, and its prompt's end
    rows: which prompts the batch holds, one for each sequence
    """

    sequences: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    turns: list
    rows: tuple
    embeds: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    scores: torch.Tensor | None = None


def batch(padding, rows=(0, 1)):
    """Ids and mask of a batch of prompts; both rows are as wide as the longest."""
    prompts = PROMPTS[padding]
    width = max(map(len, prompts))
    ids, mask = [], []
    for prompt in (prompts[row] for row in rows):
        pads = [PAD] * (width - len(prompt))
        real = [1] * len(prompt)
        ids.append(prompt + pads if padding == "right" else pads + prompt)
        mask.append(real + [0] * len(pads) if padding == "right" else [0] * len(pads) + real)
    return torch.tensor(ids), torch.tensor(mask)


@cache
def model_of(family="llama", **changes):
    model = make_model(family, **changes)
    model.generation_config.eos_token_id = None
    return model


def odd(tokens):
    """The function policy; embeddings have no ids, and count as not chosen."""
    return tokens.ids % 3 != 0 if tokens.ids is not None else torch.zeros(tokens.shape, dtype=torch.bool)


def marked(rows, columns=40):
    """The mask policy: each sentence its own columns, of the prompt and after it."""
    torch.manual_seed(3)
    return torch.rand(2, columns).lt(0.5)[list(rows)]


def steering(model, policy, rows=(0, 1), **options):
    positions = {"mask": marked(rows), "function": odd}.get(policy, policy)
    return write(model, {Site("hidden", BLOCK): Edit("add", VECTOR)}, positions=positions, **options)


def of_generate(made, ids, mask, rows=(0, 1)):
    logits, scores = torch.stack(made.logits, dim=1), torch.stack(made.scores, dim=1)
    return Steered(made.sequences, mask, logits, [(0, ids.shape[1])], rows, scores=scores)


def simple(padding, policy, *, rows=(0, 1), model=None, **options):
    """One call of generate."""
    model = model or model_of()
    ids, mask = batch(padding, rows)
    torch.manual_seed(0)
    with steering(model, policy, rows):
        made = model.generate(input_ids=ids, attention_mask=mask, **OPTIONS | TOLD | options)
    return model, of_generate(made, ids, mask, rows)


def beams(padding, policy):
    model = model_of()
    ids, mask = batch(padding)
    with steering(model, policy):
        made = model.generate(
            input_ids=ids, attention_mask=mask, num_beams=3, num_return_sequences=2, **OPTIONS | TOLD
        )
    logits = torch.stack(made.logits, dim=1)  # of each running beam; beam_indices says which became which
    steps = torch.arange(NEW)
    chosen = torch.stack([logits[row[:NEW], steps] for row in made.beam_indices])
    mask = mask.repeat_interleave(2, dim=0)
    return model, Steered(made.sequences, mask, chosen, [(0, ids.shape[1])], (0, 0, 1, 1))


def assisted(padding, policy):
    assistant = model_of(seed=0, num_hidden_layers=2)
    assistant.generation_config.num_assistant_tokens = 3
    return simple(padding, policy, rows=(1,), assistant_model=assistant)


def early_exit(padding, policy):
    return simple(padding, policy, rows=(1,), assistant_early_exit=2)


def prefix_cache(padding, policy):
    """A cache of the first columns, filled by hand, and generate with the whole prompt."""
    model, (ids, mask), prefix = model_of(), batch(padding), 4
    position_ids = positions_of(mask, ids.shape[1])
    with steering(model, policy):
        filled = DynamicCache(config=model.config)
        with torch.no_grad():
            model(
                input_ids=ids[:, :prefix],
                attention_mask=mask[:, :prefix],
                position_ids=position_ids[:, :prefix],
                past_key_values=filled,
            )
        made = model.generate(input_ids=ids, attention_mask=mask, past_key_values=filled, **OPTIONS | TOLD)
    found = of_generate(made, ids, mask)
    found.turns = [(0, prefix), (prefix, ids.shape[1])]
    return model, found


def second_turn(padding, policy):
    """Two turns of one conversation, the second with the first one's cache."""
    model, (ids, mask) = model_of(), batch(padding)
    with steering(model, policy):
        one = model.generate(input_ids=ids, attention_mask=mask, **OPTIONS | TOLD)
        said = torch.tensor([[90, 91, 92], [93, 94, 95]])
        both = torch.cat([one.sequences, said], dim=1)
        whole = padded(mask, both.shape[1])
        two = model.generate(
            input_ids=both, attention_mask=whole, past_key_values=one.past_key_values, **OPTIONS | TOLD
        )
    run = one.sequences.shape[1] - 1  # the last token of the first turn runs in the second
    made = of_generate(two, both, whole)
    made.turns = [(0, ids.shape[1]), (run, both.shape[1])]
    first = positions_of(mask, one.sequences.shape[1])
    second = positions_of(whole, two.sequences.shape[1])
    made.position_ids = torch.cat([first[:, :run], second[:, run:]], dim=1)
    return model, made


def twice(padding, policy):
    """A second generate whose prompt begins with the whole of the first."""
    model, (ids, mask) = model_of(), batch(padding)
    with steering(model, policy):
        one = model.generate(input_ids=ids, attention_mask=mask, use_cache=False, **OPTIONS | TOLD)
        whole = padded(mask, one.sequences.shape[1])
        two = model.generate(input_ids=one.sequences, attention_mask=whole, use_cache=False, **OPTIONS | TOLD)
    return model, of_generate(two, one.sequences, whole)


class Recorder:
    """A logits processor that keeps what it is given."""

    def __init__(self):
        self.scores = []

    def __call__(self, input_ids, scores):
        self.scores.append(scores.clone())
        return scores


def piped(padding, policy):
    """A text-generation pipeline over a batch, after another one whose prompt the second begins with."""
    model = model_of()
    texts = ["It rains.", "It rains." if padding == "none" else "Good morning. It rains in"]
    tokenizer = make_tokenizer.__wrapped__("left" if padding == "left" else "right")
    pipe = pipeline("text-generation", model, tokenizer=tokenizer, device="cpu")
    encoded = tokenizer(texts, return_tensors="pt", padding=True)
    recorder = Recorder()
    options = {name: OPTIONS[name] for name in ("max_new_tokens", "min_new_tokens", "do_sample")}
    with steering(model, policy):
        pipe(texts, batch_size=2, return_tensors=True, **options)
        found = pipe(texts, batch_size=2, return_tensors=True, logits_processor=[recorder], **options)
    new = [one[0]["generated_token_ids"][-NEW:] for one in found]
    sequences = torch.cat([encoded["input_ids"], torch.tensor(new)], dim=1)
    turns, logits = [(0, sequences.shape[1] - NEW)], torch.stack(recorder.scores, dim=1)
    return model, Steered(sequences, encoded["attention_mask"], logits, turns, (0, 1))


def embedded(padding, policy):
    model, (ids, mask) = model_of(), batch(padding)
    embeds = model.get_input_embeddings()(ids).detach()
    with steering(model, policy):
        made = model.generate(inputs_embeds=embeds, attention_mask=mask, **OPTIONS | TOLD)
    found = of_generate(made, ids, mask)
    found.sequences, found.embeds = torch.cat([ids, made.sequences], dim=1), embeds
    return model, found


def continuous(padding, policy):
    model, (ids, _) = model_of(), batch(padding)
    with steering(model, policy):
        model.generate_batch(ids.tolist(), max_new_tokens=2)


SCALE = 1.5


def guided(padding, policy):
    return simple(padding, policy, guidance_scale=SCALE)


def static(padding, policy):
    return simple(padding, policy, cache_implementation="static")


def sliding(padding, policy):
    return simple(padding, policy, model=model_of("mistral", sliding_window=4))


def sliding_assisted(padding, policy):
    model = model_of("mistral", sliding_window=4)
    return simple(padding, policy, rows=(0,), model=model, prompt_lookup_num_tokens=2)


MODES = {
    "greedy": simple,
    "greedy, no cache": lambda *cell: simple(*cell, use_cache=False),
    "beams": beams,
    "sampling": lambda *cell: simple(*cell, do_sample=True, top_k=0),
    "assisted": assisted,
    "prompt lookup": lambda *cell: simple(*cell, rows=(1,), prompt_lookup_num_tokens=2),
    "assisted by early exit": early_exit,
    "chunked prefill": lambda *cell: simple(*cell, prefill_chunk_size=3),
    "static cache": static,
    "sliding window": sliding,
    "sliding window, prompt lookup": sliding_assisted,
    "sliding and full": lambda *cell: simple(*cell, model=model_of("gemma3_text", sliding_window=4)),
    "prefix cache by hand": prefix_cache,
    "second turn": second_turn,
    "second generate": twice,
    "continuous batching": continuous,
    "pipeline": piped,
    "inputs_embeds": embedded,
    "guidance": guided,
}
_NESTED = "the model writes its own draft, with a second `generate` inside the first"
_ANOTHER = "the model also runs on a second sequence, which has another prompt"
_THREAD = "it runs the model in another thread"
# (mode, policy) -> why it is refused.
REFUSED = {
    **{("guidance", policy): _ANOTHER for policy in ("prompt", "generated", "last_prompt", "mask")},
    **{("assisted by early exit", policy): _NESTED for policy in ("prompt", "generated", "last_prompt")},
    **{("continuous batching", policy): _THREAD for policy in POLICIES},
}


def edited_of(found, policy):
    """Which tokens of the whole sequences must have been edited, by absolute position."""
    n, length = found.sequences.shape
    real = padded(found.mask, length).bool()
    column = torch.arange(length).expand(n, length)
    edited = torch.zeros(n, length, dtype=torch.bool)
    for number, (start, end) in enumerate(found.turns):
        stop = found.turns[number + 1][0] if number + 1 < len(found.turns) else length
        prompt = column < end
        by_ids = found.sequences % 3 != 0
        of_policy = {
            "all": real,
            "prompt": real & prompt,
            "generated": real & ~prompt,
            "last_prompt": column == torch.where(real & prompt, column, -1).amax(dim=1, keepdim=True),
            "mask": real & marked(found.rows)[:, :length],
            "function": real & by_ids if found.embeds is None else real & by_ids & ~prompt,
        }
        edited |= (column >= start) & (column < stop) & of_policy[policy]
    return edited


def wanted(model, found, edited):
    """The logits of each new token, of whole sequences without a cache."""
    length = found.sequences.shape[1]
    inputs = {"input_ids": found.sequences}
    if found.embeds is not None:
        after = model.get_input_embeddings()(found.sequences[:, found.embeds.shape[1] :])
        inputs = {"inputs_embeds": torch.cat([found.embeds, after], dim=1).detach()}
    position_ids = found.position_ids
    if position_ids is None:
        position_ids = positions_of(found.mask, length)
    logits = logits_of(model, padded(found.mask, length), edited, position_ids, **inputs)
    return logits[:, -NEW - 1 : -1]
