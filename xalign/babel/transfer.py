"""The downstream task: learn intents from English sentences, recognise them in the other languages."""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.meanings import Meaning
from xalign.babel.splits import take_meanings
from xalign.babel.templates import load_templates
from xalign.babel.tokenizer import SEPARATOR
from xalign.checks import whole_number

_BATCH = 32


@dataclass(frozen=True)
class Transfer:
    """What a model that learnt the task in English knows of it in each language.

    Attributes:
        accuracy: Language code -> share of test sentences whose intent was recognised, in [0, 1].
        chance: The share of the commonest intent among the test sentences.
        examples: How many English sentences it learnt from.
        seed: Of examples, head and order.
    """

    accuracy: dict[str, float]
    chance: float
    examples: int
    seed: int

    @property
    def zero_shot(self) -> float:
        """The mean accuracy of the languages it never saw the task in."""
        others = [value for code, value in self.accuracy.items() if code != "eng_Latn"]
        return sum(others) / len(others)


def intents() -> list[str]:
    """The labels: a speech act and the domain of the object, such as `inquire_food`.

    No word gives one away: acts are told by function words, word order and punctuation, domains by objects.
    """
    acts = dict.fromkeys(template.act for template in load_templates().values())
    domains = dict.fromkeys(thing.domain for thing in load_lexicon().objects.values())
    return [f"{act}_{domain}" for act in acts for domain in domains]


def transfer_task(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    *,
    examples: int = 1000,
    test: int = 500,
    seed: int = 0,
    epochs: int = 8,
    learning_rate: float = 1e-3,
) -> Transfer:
    """Fine-tunes a copy of a model on intents in English only, and tests it in all of Babel's languages.

    The head is linear and reads the last token, the separator, where the model is about to say the same in
    another language. All weights of the copy are trained; the model itself is left as it is.

    Args:
        model: One of Babel's models, or a checkpoint of one.
        tokenizer: Its tokenizer.
        examples: English sentences to learn from, at least 32: the fewer, the harder.
        test: Meanings to test on, the same for every seed, none of which a model or the task has learnt from.
        seed: Of examples, head and order.
        epochs: Passes over the examples.
        learning_rate: The highest; it rises over the first tenth of the steps and falls to 0.

    Raises:
        ArgumentError: Fewer than 32 examples, or more than there are.

    Example:
        >>> from xalign.babel import load_babel, transfer_task
        >>> result = transfer_task(*load_babel("aligned"), examples=64, test=50, epochs=1)
        >>> sorted(result.accuracy)
        ['deu_Latn', 'eng_Latn', 'rus_Cyrl', 'spa_Latn', 'zho_Hans']
    """
    for name, value, least in (("examples", examples, _BATCH), ("test", test, 1), ("epochs", epochs, 1)):
        whole_number(name, value, least)
    learnt, tested = take_meanings(examples, seed, "train"), take_meanings(test, 0, "task")
    label = {intent: number for number, intent in enumerate(intents())}
    generator = torch.Generator().manual_seed(seed)
    body = copy.deepcopy(model.model).train()
    with torch.random.fork_rng(devices=[]):
        head = nn.Linear(model.config.hidden_size, len(label))
    nn.init.normal_(head.weight, std=0.02, generator=generator)
    nn.init.zeros_(head.bias)

    def logits(meanings: Sequence[Meaning], language: str) -> Tensor:
        return intent_logits(body, head, tokenizer, [meaning.sentence(language) for meaning in meanings])

    def labels(meanings: Sequence[Meaning]) -> Tensor:
        return torch.tensor([label[meaning.intent] for meaning in meanings])

    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    per_epoch = examples // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * per_epoch, pct_start=0.1
    )
    order = random.Random(seed)
    for _ in range(epochs):
        order.shuffle(learnt)
        for step in range(per_epoch):
            batch = learnt[step * _BATCH : (step + 1) * _BATCH]
            loss = nn.functional.cross_entropy(logits(batch, "eng_Latn"), labels(batch))
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    body.eval()
    truth = labels(tested)
    with torch.no_grad():
        accuracy = {
            language: (logits(tested, language).argmax(1) == truth).double().mean().item()
            for language in LANGUAGES.values()
        }
    return Transfer(accuracy, truth.bincount().max().item() / len(truth), examples, seed)


def intent_logits(
    body: nn.Module, head: nn.Module, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]
) -> Tensor:
    """What a linear head makes of the separator behind each sentence; [sentence, intent]."""
    texts = [f"{sentence} {SEPARATOR}" for sentence in sentences]
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    states = body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    last = batch["attention_mask"].sum(1) - 1
    found: Tensor = head(states[torch.arange(len(texts)), last])
    return found
