"""What the benchmarks of transfer share: a task learnt in English beside other losses, and its outcomes."""

import random
import time

import torch
from torch import nn

from xalign import measure
from xalign.babel.examine import WITH_SEPARATOR, token_loss
from xalign.babel.splits import take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.transfer import intent_logits, intents, labels_of

STEPS, EXAMPLES, BATCH, PAIRS, LEARNING_RATE = 250, 2000, 32, 32, 5e-4
COMMON = {
    "batch_size": PAIRS,
    "temperature": 0.1,
    "pool": "weighted",
    "template": f"{{text}} {SEPARATOR}",
    "template_pooled": True,
}
LANGUAGES = ["eng_Latn", "spa_Latn", "deu_Latn", "rus_Cyrl", "zho_Hans"]


def look(model, tokenizer, held_out, unseen):
    """Measure alignment and losses of a model on unseen meanings."""
    scores = {
        name: {code: report.score("nasca", code) for code in held_out}
        for name, report in (
            ("nasca", measure(model, tokenizer, held_out, ["nasca"], **WITH_SEPARATOR)),
            ("nasca_plain", measure(model, tokenizer, held_out, ["nasca"])),
        )
    }
    loss = {
        code: token_loss(model, tokenizer, [("", meaning.sentence(code)) for meaning in unseen])
        for code in LANGUAGES
    }
    return scores | {"sentence_loss": loss}


def learn(model, tokenizer, seed, *, steps=STEPS, documents=None, objective=None):
    """Train a model and a head on intents in English, with documents and an alignment loss beside.

    `documents(step, order)` gives a batch of text, and `objective(step)` a loss. Returns the head and the CPU
    seconds.
    """
    learnt = take_meanings(EXAMPLES, seed, "train")
    order = random.Random(seed)
    torch.manual_seed(seed)
    head = nn.Linear(model.config.hidden_size, len(intents()))
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    weights = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    model.train()
    started = time.process_time()
    for step in range(steps):
        batch = order.sample(learnt, BATCH)
        sentences = [meaning.sentence("eng_Latn") for meaning in batch]
        logits = intent_logits(model.model, head, tokenizer, sentences)
        loss = nn.functional.cross_entropy(logits, labels_of(batch))
        if documents is not None:
            loss = loss + model(**documents(step, order)).loss
        if objective is not None:
            loss = loss + objective(step)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    return head, time.process_time() - started
