"""Learn Babel's intents from English sentences, with documents to replay and an alignment loss or without.

Part of the benchmarks of adapters: any parameters may be trained, by any of them at the same steps.
"""

import random

import torch
from torch import nn

from xalign import AlignmentObjective
from xalign.babel import write_pairs
from xalign.babel.splits import take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.transfer import intent_logits, labels_of
from xalign.model.batches import pad_documents

STEPS, EXAMPLES, BATCH, PAIRS = 250, 2000, 32, 32
LANGUAGES = ["eng_Latn", "spa_Latn", "deu_Latn", "rus_Cyrl", "zho_Hans"]
ALIGNMENT = {
    "loss": "neuron_state",
    "layer": "all",
    "batch_size": PAIRS,
    "temperature": 0.1,
    "pool": "weighted",
    "template": f"{{text}} {SEPARATOR}",
    "template_pooled": True,
}


def body_of(model):
    """Return a Babel model's body, with or without PEFT around the model."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model


def learn(model, tokenizer, parameters, *, rate, seed, head=None, alignment=None, steps=STEPS):
    """Train some parameters, and a head on English sentences unless there is none.

    Args:
        model: A Babel model, which is trained in place.
        tokenizer: Its tokenizer.
        parameters: What is trained of it.
        rate: The highest learning rate.
        seed: The seed of examples, documents, pairs and order.
        head: The classifier of intents, trained too; without one, no task is learnt.
        alignment: Options of the alignment loss over those of `ALIGNMENT`; none where None.
        steps: The number of steps.
    """
    pairs = write_pairs(2000, seed, "train")
    options = ALIGNMENT | (alignment or {})
    objective = None
    if alignment is not None:
        objective = AlignmentObjective(model, tokenizer, pairs, **options, seed=seed)
    learnt, order = take_meanings(EXAMPLES, seed, "train"), random.Random(seed)
    torch.manual_seed(seed)
    weights = [*parameters, *(head.parameters() if head else ())]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        batch = order.sample(learnt, BATCH)
        loss = model(**_documents(pairs, tokenizer, seed, step)).loss
        if head is not None:
            sentences = [meaning.sentence("eng_Latn") for meaning in batch]
            logits = intent_logits(body_of(model), head, tokenizer, sentences)
            loss = loss + nn.functional.cross_entropy(logits, labels_of(batch))
        if objective is not None:
            loss = loss + objective(step)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def _documents(pairs, tokenizer, seed, step):
    """Write as many documents as pairs: translations in random directions, and two single sentences."""
    draw = random.Random(f"documents {seed} {step}")
    texts = []
    for row in draw.sample(range(len(pairs["deu_Latn"])), PAIRS):
        code = draw.choice(list(pairs))
        sides = [pairs[code].pivot_sentences[row], pairs[code].sentences[row]]
        draw.shuffle(sides)
        texts.append(f"{sides[0]} {SEPARATOR} {sides[1]}")
    texts += [pairs[code].sentences[step] for code in draw.sample(list(pairs), 2)]
    return pad_documents([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts])
