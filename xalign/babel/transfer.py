"""The downstream task: learn intents from English sentences, and recognise them in the other languages."""

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
    """How well a model that learnt the task in English does it in each language.

    Attributes:
        accuracy: Language code -> share of test sentences whose intent was recognised, in [0, 1].
        chance: The share of test sentences that have the most frequent intent.
        examples: Number of English sentences that the model learnt from.
        seed: The seed of the examples, the head and the order of training.
    """

    accuracy: dict[str, float]
    chance: float
    examples: int
    seed: int

    @property
    def zero_shot(self) -> float:
        """The mean accuracy in the languages other than English."""
        others = [value for code, value in self.accuracy.items() if code != "eng_Latn"]
        return sum(others) / len(others)


def intents() -> list[str]:
    """List the labels: a speech act and the domain of the object, such as `inquire_food`.

    No single word determines a label. Function words, word order and punctuation express the act; the object
    tells the domain.
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
    """Fine-tune a copy of a model on intents in English only, and test it in all of Babel's languages.

    A linear head reads the state of the last token, the separator, after which the model would translate the
    sentence. All weights of the copy are trained; the model itself is not changed.

    Args:
        model: A Babel model, or a checkpoint of one.
        tokenizer: Its tokenizer.
        examples: Number of English sentences to learn from, at least 32. The fewer, the harder the task.
        test: Number of meanings to test on. They are the same for every seed, and no model has seen them.
        seed: The seed of the examples, the head and the order of training.
        epochs: Number of passes over the examples.
        learning_rate: The peak learning rate. It is reached after a tenth of the steps, and falls to 0.

    Raises:
        ArgumentError: There are fewer than 32 examples, or more than there are meanings.
        ArgumentTypeError: A number that must be whole is not.

    Example:
        >>> from xalign.babel import load_babel, transfer_task
        >>> result = transfer_task(*load_babel("aligned"), examples=64, test=50, epochs=1)
        >>> sorted(result.accuracy)
        ['deu_Latn', 'eng_Latn', 'rus_Cyrl', 'spa_Latn', 'zho_Hans']
    """
    for name, value, least in (("examples", examples, _BATCH), ("test", test, 1), ("epochs", epochs, 1)):
        whole_number(name, value, least)
    learnt, tested = take_meanings(examples, seed, "train"), take_meanings(test, 0, "task")
    body, head = copy.deepcopy(model.model).train(), new_head(model.config.hidden_size, seed)
    _fine_tune(body, head, tokenizer, learnt, epochs=epochs, learning_rate=learning_rate, seed=seed)
    body.eval()
    accuracy, truth = intent_accuracy(body, head, tokenizer, tested), labels_of(tested)
    return Transfer(accuracy, truth.bincount().max().item() / len(truth), examples, seed)


def intent_accuracy(
    body: nn.Module, head: nn.Module, tokenizer: PreTrainedTokenizerBase, tested: Sequence[Meaning]
) -> dict[str, float]:
    """Return language -> share of the meanings whose intent is found.

    Args:
        body: The model without its language-modelling head, in evaluation mode.
        head: The linear layer.
        tokenizer: Babel's tokenizer.
        tested: The meanings.
    """
    truth, accuracy = labels_of(tested), {}
    with torch.no_grad():
        for language in LANGUAGES.values():
            logits = intent_logits(body, head, tokenizer, _sentences(tested, language))
            accuracy[language] = (logits.argmax(1) == truth).double().mean().item()
    return accuracy


def new_head(width: int, seed: int) -> nn.Linear:
    """Return a linear layer from states of a width to intents, which draws nothing of torch's own numbers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # a new layer draws weights, which the caller must not notice
        head = nn.Linear(width, len(intents()))
    nn.init.normal_(head.weight, std=0.02, generator=generator)
    nn.init.zeros_(head.bias)
    return head


def _fine_tune(
    body: nn.Module,
    head: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    learnt: list[Meaning],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Train the body and the head on English sentences."""
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    per_epoch = len(learnt) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * per_epoch, pct_start=0.1
    )
    order = random.Random(seed)
    for _ in range(epochs):
        order.shuffle(learnt)
        for step in range(per_epoch):
            batch = learnt[step * _BATCH : (step + 1) * _BATCH]
            logits = intent_logits(body, head, tokenizer, _sentences(batch, "eng_Latn"))
            torch.autograd.backward(nn.functional.cross_entropy(logits, labels_of(batch)))
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def _sentences(meanings: Sequence[Meaning], language: str) -> list[str]:
    return [meaning.sentence(language) for meaning in meanings]


def labels_of(meanings: Sequence[Meaning]) -> Tensor:
    """Return the number of the intent of each meaning."""
    number = {intent: place for place, intent in enumerate(intents())}
    return torch.tensor([number[meaning.intent] for meaning in meanings])


def intent_logits(
    body: nn.Module, head: nn.Module, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]
) -> Tensor:
    """Compute the logits of intents from the separator after each sentence.

    Args:
        body: The model without its language-modelling head.
        head: A linear layer from its states to intents.
        tokenizer: Babel's tokenizer.
        sentences: Sentences of any of Babel's languages.

    Returns:
        Logits, [sentence, intent].
    """
    texts = [f"{sentence} {SEPARATOR}" for sentence in sentences]
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    states = body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    last = batch["attention_mask"].sum(1) - 1
    found: Tensor = head(states[torch.arange(len(texts)), last])
    return found
