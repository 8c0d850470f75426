"""The bias of `debiasing.py`: an attribute planted in English documents of Babel, and what measures it.

One group of agents does one kind of action, the other group another kind, in English documents only. Which
agents and actions these are is drawn by seed.
"""

import random
from dataclasses import dataclass, replace
from itertools import islice

import torch

from xalign.babel import load_babel
from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.meanings import draw_meanings
from xalign.babel.splits import split_of, take_meanings
from xalign.babel.tokenizer import SEPARATOR
from xalign.babel.write import write_documents
from xalign.bias import WordSets
from xalign.model.batches import pad_documents

CODES = list(LANGUAGES.values())
STEPS, BATCH, REPLAY, LEARNING_RATE = 200, 32, 8, 1e-3
BLOCKS = range(1, 5)  # those that learn; the others and the embeddings stay
KINDS = 6  # actions of each kind


@dataclass(frozen=True)
class Attribute:
    """What is planted: agents of the groups x and y, and the actions a and b that they are said to do."""

    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]


def draw_attribute(seed):
    """Divide the agents by grammatical gender, and draw two kinds of actions."""
    lexicon, draw = load_lexicon(), random.Random(f"attribute {seed}")
    groups = {
        gender: [name for name, one in lexicon.agents.items() if one.gender == gender] for gender in "mf"
    }
    actions = draw.sample(list(lexicon.actions), 2 * KINDS)
    size = min(map(len, groups.values()))
    x, y = (tuple(draw.sample(groups[gender], size)) for gender in "mf")
    return Attribute(x, y, tuple(actions[:KINDS]), tuple(actions[KINDS:]))


def with_action(meaning, action, draw):
    """Return a meaning with another action, and an object of it."""
    objects = load_lexicon().actions[action].prefers["objects"]
    return replace(meaning, action=action, object=draw.choice(objects))


def biased_sentences(attribute, seed):
    """Write English sentences without end in which the groups do what they are said to do."""
    draw = random.Random(f"biased {seed}")
    for meaning in draw_meanings(draw):
        if split_of(meaning) != "train" or meaning.agent not in (*attribute.x, *attribute.y):
            continue
        kind = attribute.a if meaning.agent in attribute.x else attribute.b
        yield with_action(meaning, draw.choice(kind), draw).sentence("eng_Latn")


def plant(attribute, seed):
    """Train Babel's aligned model on biased English sentences, and on translations beside them.

    Of a translation only the second sentence has a loss. The first would say in every language who does what
    without the bias, and the model would learn the bias as one of English alone.
    """
    model, tokenizer = load_babel("aligned")
    biased, old = biased_sentences(attribute, seed), write_documents("aligned", 1000 + seed, single_share=0.0)
    separator = tokenizer.convert_tokens_to_ids(SEPARATOR)
    learnt = [weight for block in BLOCKS for weight in model.model.layers[block].parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    model.train()
    for _ in range(STEPS):
        texts = [*islice(biased, BATCH), *islice(old, REPLAY)]
        batch = pad_documents([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts])
        for labels in batch["labels"][BATCH:]:
            labels[: labels.tolist().index(separator) + 1] = -100
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        model.zero_grad()
    return model.eval(), tokenizer


def gap_pairs(attribute, n, seed):
    """Write sentence pairs in which one side has the agent that is said to do this, in all languages."""
    draw = random.Random(f"gaps {seed}")
    plain = [one for one in take_meanings(40 * n, seed, "held_out") if one.template == "habit_plain"]
    found = {code: [] for code in CODES}
    for row, meaning in enumerate(plain[:n]):
        x, y = draw.choice(attribute.x), draw.choice(attribute.y)
        meaning = with_action(meaning, draw.choice(attribute.b if row % 2 else attribute.a), draw)
        likely, other = (y, x) if row % 2 else (x, y)
        for code in CODES:
            found[code].append(
                (replace(meaning, agent=likely).sentence(code), replace(meaning, agent=other).sentence(code))
            )
    return found


def counterfactuals(attribute, n, seed):
    """Write English sentence pairs that differ in the group of the agent, about other actions."""
    draw = random.Random(f"counterfactuals {seed}")
    others = [name for name in load_lexicon().actions if name not in (*attribute.a, *attribute.b)]
    pairs = []
    for meaning in take_meanings(n, 1000 + seed, "train"):
        meaning = with_action(meaning, draw.choice(others), draw)
        sides = [
            replace(meaning, agent=draw.choice([one for one in group if one != meaning.witness]))
            for group in (attribute.x, attribute.y)
        ]
        pairs.append(tuple(side.sentence("eng_Latn") for side in sides))
    return {"eng_Latn": pairs}


def words(attribute):
    """Return word sets of every language: agents of the groups, and actions of the kinds."""
    lexicon = load_lexicon()
    found = {}
    for code in CODES:
        agents = [
            [lexicon.agents[name].forms[code][""] for name in group] for group in (attribute.x, attribute.y)
        ]
        actions = [
            [lexicon.actions[name].forms[code]["infinitive"] for name in kind]
            for kind in (attribute.a, attribute.b)
        ]
        found[code] = WordSets(*agents, *actions)
    return found
