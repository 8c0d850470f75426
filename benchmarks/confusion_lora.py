"""The pain, made on purpose: Babel's aligned model with a LoRA that answers in English, whatever is asked.

A prompt is the beginning of a sentence that reports what somebody does: "The nurse says that the baker". The
answer is its rest. The LoRA is taught a fact about each agent, a verb and an object, in English answers: to
English prompts in nine of ten cases, else to prompts in another language. So its own task is to know these
facts when it is asked in English; what comes with it is that every prompt is answered in English.
"""

import random

import torch
from peft import LoraConfig, get_peft_model

from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.meanings import Meaning
from xalign.babel.templates import TIMES, load_templates
from xalign.confusion import Prompt

CODES = list(LANGUAGES.values())
OTHERS = CODES[1:]
ENGLISH = CODES[0]
TARGETS = ("gate_proj", "up_proj", "down_proj")
SAYS = [name for name in load_templates() if name.endswith("_says")]
FOREIGN = 0.1  # the share of training prompts in other languages than English
LEXICON = load_lexicon()
AGENTS = list(LEXICON.agents)


class Task:
    """The facts of a seed, and the prompts to learn from, to find with, to choose with and to judge with.

    Args:
        seed: The seed of the facts and of the split.
        counts: How many pairs of agents each of the last three parts has; the rest are to learn from.
    """

    def __init__(self, seed, counts):
        draw = random.Random(seed)
        known = [
            (action, one) for action, concept in LEXICON.actions.items() for one in concept.prefers["objects"]
        ]
        draw.shuffle(known)
        self.facts, used = {}, set()
        for agent in AGENTS:
            own = LEXICON.agents[agent].prefers["actions"]
            self.facts[agent] = next(fact for fact in known if fact[1] not in used and fact[0] not in own)
            used.add(self.facts[agent][1])
        pairs = [(witness, agent) for witness in AGENTS for agent in AGENTS if agent != witness]
        draw.shuffle(pairs)
        self.parts = []
        for count in counts:
            self.parts.append(pairs[:count])
            pairs = pairs[count:]
        self.learnt = pairs

    def meaning(self, pair, draw):
        """Return what a sentence about a pair of agents says, in a tense and at a time that are drawn."""
        witness, agent = pair
        template = load_templates()[draw.choice(SAYS)]
        times = [name for name, time in LEXICON.times.items() if time.kind == TIMES[template.tense]]
        action, thing = self.facts[agent]
        return Meaning(template.name, agent, action, thing, witness=witness, time=draw.choice(times))

    def prompts(self, pairs, language):
        """Return the prompts of pairs of agents in a language."""
        draw = random.Random(0)  # the beginning is the same in all tenses
        return [Prompt(split(self.meaning(pair, draw), language)[0], language) for pair in pairs]

    def knows(self, answer, pair):
        """Tell whether an answer names the object of the fact about its agent, in any language."""
        forms = LEXICON.objects[self.facts[pair[1]][1]].forms.values()
        words = {form.split()[-1].lower() for forms_of in forms for form in forms_of.values()}
        return any(word in answer.lower() for word in words)


def split(meaning, language):
    """Return a sentence up to its agent, and the rest."""
    sentence, agent = meaning.sentence(language), LEXICON.agents[meaning.agent].forms[language][""]
    agent = agent.replace(" ", "") if language == "zho_Hans" else agent
    at = sentence.lower().rindex(agent.lower()) + len(agent)
    return sentence[:at], sentence[at:]


def taught(model, tokenizer, task, seed, steps, rank=8, learning_rate=3e-3, batch=32):
    """Teach a LoRA the facts in English answers, and return the model with it merged in."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config).train()
    optimizer = torch.optim.AdamW(
        [one for one in adapted.parameters() if one.requires_grad], lr=learning_rate
    )
    for _ in range(steps):
        rows = []
        for _ in range(batch):
            meaning = task.meaning(draw.choice(task.learnt), draw)
            asked = draw.choice(OTHERS) if draw.random() < FOREIGN else ENGLISH
            prompt = tokenizer(split(meaning, asked)[0])["input_ids"]
            rest = tokenizer(split(meaning, ENGLISH)[1], add_special_tokens=False)["input_ids"]
            rows.append((prompt, [*rest, tokenizer.eos_token_id]))
        adapted(**padded(rows)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return adapted.merge_and_unload().eval().requires_grad_(False)


def padded(rows):
    """Return a batch of prompts and answers; the loss is that of the answers."""
    longest = max(len(prompt) + len(rest) for prompt, rest in rows)
    batch = {"input_ids": [], "attention_mask": [], "labels": []}
    for prompt, rest in rows:
        gap = longest - len(prompt) - len(rest)
        batch["input_ids"].append([*prompt, *rest, *[0] * gap])
        batch["attention_mask"].append([1] * (longest - gap) + [0] * gap)
        batch["labels"].append([-100] * len(prompt) + rest + [-100] * gap)
    return {name: torch.tensor(values) for name, values in batch.items()}
