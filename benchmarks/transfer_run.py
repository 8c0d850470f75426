"""What the benchmarks of transfer share: a task learnt in English beside other losses, and its outcomes."""

import random
import time

import numpy as np
import torch
from torch import nn

from xalign import AlignmentObjective, measure
from xalign.babel import write_pairs
from xalign.babel.examine import WITH_SEPARATOR, token_loss
from xalign.babel.splits import take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.transfer import intent_logits, intents, labels_of
from xalign.model.batches import pad_documents

STEPS, EXAMPLES, BATCH, PAIRS, LEARNING_RATE = 250, 2000, 32, 32, 5e-4
COMMON = {
    "batch_size": PAIRS,
    "temperature": 0.1,
    "pool": "weighted",
    "template": f"{{text}} {SEPARATOR}",
    "template_pooled": True,
}
ALIGNMENT = {"loss": "neuron_state", "layer": "all"} | COMMON
LANGUAGES = ["eng_Latn", "spa_Latn", "deu_Latn", "rus_Cyrl", "zho_Hans"]


def look(model, tokenizer, held_out, unseen):
    """Measure alignment and losses of a model on unseen meanings."""
    names = ["nasca", "mexa", "retrieval"]
    separated = measure(model, tokenizer, held_out, names, **WITH_SEPARATOR)
    plain = measure(model, tokenizer, held_out, ["nasca"])
    scores = {name: {code: separated.score(name, code) for code in held_out} for name in names}
    scores["nasca_plain"] = {code: plain.score("nasca", code) for code in held_out}
    loss = {
        code: token_loss(model, tokenizer, [("", meaning.sentence(code)) for meaning in unseen])
        for code in LANGUAGES
    }
    return scores | {"sentence_loss": loss}


def others(by_language):
    """Return the mean over the languages that the task was not taught in."""
    return float(np.mean([value for code, value in by_language.items() if code != "eng_Latn"]))


def body_of(model):
    """Return a Babel model's body, with or without PEFT around the model."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model


def translation(one, other, order):
    """Write a sentence and its translation as a document, in a random direction."""
    sides = [one, other]
    order.shuffle(sides)
    return f"{sides[0]} {SEPARATOR} {sides[1]}"


def documents_of(pairs, tokenizer, seed, step):
    """Write as many documents as pairs: translations in random directions, and two single sentences."""
    draw = random.Random(f"documents {seed} {step}")
    texts = []
    for row in draw.sample(range(len(pairs["deu_Latn"])), PAIRS):
        code = draw.choice(list(pairs))
        texts.append(translation(pairs[code].pivot_sentences[row], pairs[code].sentences[row], draw))
    texts += [pairs[code].sentences[step] for code in draw.sample(list(pairs), 2)]
    return pad_documents([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts])


def learn(model, tokenizer, seed, *, steps=STEPS, documents=None, objective=None):
    """Train a model and a head on intents in English, with documents and an alignment loss beside.

    `documents(step, order)` gives a batch of text, and `objective(step)` a loss. Returns the head and the CPU
    seconds.
    """
    torch.manual_seed(seed)
    head = nn.Linear(model.config.hidden_size, len(intents()))
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    started = time.process_time()
    train(
        *(model, tokenizer, model.parameters(), head, seed),
        rate=LEARNING_RATE,
        steps=steps,
        documents=documents,
        objective=objective,
    )
    return head, time.process_time() - started


def learn_with_text(model, tokenizer, parameters, *, rate, seed, head=None, alignment=None, steps=STEPS):
    """Train some parameters, and a head on English sentences unless there is none, beside documents.

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
    pairs, objective = write_pairs(2000, seed, "train"), None
    if alignment is not None:
        objective = AlignmentObjective(model, tokenizer, pairs, **ALIGNMENT | alignment, seed=seed)
    torch.manual_seed(seed)
    train(
        *(model, tokenizer, parameters, head, seed),
        rate=rate,
        steps=steps,
        documents=lambda step, _: documents_of(pairs, tokenizer, seed, step),
        objective=objective,
    )


def train(model, tokenizer, parameters, head, seed, *, rate, steps, documents=None, objective=None):
    """Train parameters and a head, where there is one, on the sum of their losses.

    Args:
        model: A Babel model, with or without PEFT around it.
        tokenizer: Its tokenizer.
        parameters: What is trained of it.
        head: A classifier of intents, which learns them from English sentences; or None.
        seed: The seed of the sentences and their order.
        rate: The highest learning rate.
        steps: The number of steps.
        documents: A function of step and order that gives a batch of text; or None.
        objective: A function of the step that gives a loss; or None.
    """
    learnt, order = take_meanings(EXAMPLES, seed, "train"), random.Random(seed)
    weights = [*parameters, *(head.parameters() if head else ())]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        batch, losses = order.sample(learnt, BATCH), []
        if head is not None:
            sentences = [meaning.sentence("eng_Latn") for meaning in batch]
            logits = intent_logits(body_of(model), head, tokenizer, sentences)
            losses.append(nn.functional.cross_entropy(logits, labels_of(batch)))
        if documents is not None:
            losses.append(model(**documents(step, order)).loss)
        if objective is not None:
            losses.append(objective(step))
        sum(losses).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
