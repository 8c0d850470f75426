"""`answer_prompts`: a model's answers to prompts that each want a language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.confusion.rates import Answer
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.sample import continue_each
from xalign.languages import normalize_language

GREEDY: Mapping[str, Any] = {"do_sample": False, "max_new_tokens": 100}
"""How answers are made by default. The benchmark samples: 100 tokens, top_p .75, temperature .3."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, and the language that its answer should be in.

    Attributes:
        text: The prompt, without a chat template.
        language: The wanted language, in any spelling; kept as `deu_Latn`.
        source: Which collection it is from.

    Raises:
        ArgumentError: An empty text, or a language that is unknown or ambiguous.
        ArgumentTypeError: A text that is not a string.
    """

    text: str
    language: str
    source: str = ""

    def __post_init__(self) -> None:
        """Check types, and convert the language."""
        Answer(self.text, self.language, self.source)
        if not self.text.strip():
            raise ArgumentError("text is empty; a prompt needs something to answer")
        object.__setattr__(self, "language", normalize_language(self.language))


def answer_prompts(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    chat: bool = False,
    generation: Mapping[str, Any] | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> list[Answer]:
    """Let a model answer prompts as it is, steered if inside `steer`.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        prompts: The prompts.
        chat: Put each into the tokenizer's chat template, as a user message.
        generation: Arguments of `generate`; by default the likeliest tokens, at most 100.
        seed: The same seed gives the same answers where they are sampled.
        batch_size: The most prompts that are answered at once.

    Returns:
        An answer per prompt, with its language and source.

    Raises:
        ArgumentError: No prompt, or `chat` and a tokenizer without a chat template.
        ModelError: A model that does not generate.

    Example:
        >>> prompts = [Prompt("Guten Morgen", "de"), Prompt("Buenos días", "es")]
        >>> answers = answer_prompts(model, tokenizer, prompts, generation={"max_new_tokens": 4})
        >>> [answer.language for answer in answers]
        ['deu_Latn', 'spa_Latn']
    """
    texts = shown(tokenizer, checked_prompts(prompts), chat=chat)
    how = {**GREEDY, **(generation or {})}
    found = continue_each(model, tokenizer, texts, seed=seed, generation=how, batch_size=batch_size)
    return [
        Answer(one.texts[0], prompt.language, prompt.source)
        for one, prompt in zip(found, prompts, strict=True)
    ]


def checked_prompts(prompts: object) -> Sequence[Prompt]:
    """Return prompts, at least one.

    Raises:
        ArgumentError: There is none.
        ArgumentTypeError: Something other than a list of `Prompt`.
    """
    if isinstance(prompts, str | bytes) or not isinstance(prompts, Sequence):
        raise ArgumentTypeError(f"prompts={prompts!r:.60} must be a list of Prompt")
    for one in prompts:
        if not isinstance(one, Prompt):
            raise ArgumentTypeError(f"prompts holds {one!r:.60}, which is no Prompt")
    if not prompts:
        raise ArgumentError("prompts is empty; give at least one Prompt")
    return prompts


def shown(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], *, chat: bool) -> list[str]:
    """Return what a model is given of prompts: their text, in the chat template where wanted.

    Raises:
        ArgumentError: The tokenizer has no chat template.
    """
    if not chat:
        return [one.text for one in prompts]
    if getattr(tokenizer, "chat_template", None) is None:
        raise ArgumentError("chat=True, and the tokenizer has no chat template; leave it out")
    texts = [
        str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": one.text}], tokenize=False, add_generation_prompt=True
            )
        )
        for one in prompts
    ]
    # Tokenizing adds the beginning-of-sequence token, which templates write too.
    return [text.removeprefix(str(tokenizer.bos_token or "")) for text in texts]


def greedy(model: nn.Module, max_new_tokens: int, stop: Sequence[int] = ()) -> dict[str, Any]:
    """Return the arguments of `generate` for greedy answers.

    Args:
        model: The model, whose own end tokens still end an answer.
        max_new_tokens: The longest answer.
        stop: Ids of tokens that end an answer, too.
    """
    options: dict[str, Any] = {"do_sample": False}
    options["max_new_tokens"] = whole_number("max_new_tokens", max_new_tokens, least=1)
    if stop:
        own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        owns = own if isinstance(own, list) else [] if own is None else [own]
        options["eos_token_id"] = [*owns, *(whole_number("stop", one) for one in stop)]
    return options
