"""`confusion_points`: where a model's own answers slip into English."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of
from xalign.confusion.answers import Prompt, checked_prompts, greedy, shown
from xalign.errors import ArgumentError
from xalign.judging.identify import Identify, check_known
from xalign.judging.sample import Sampled, continue_each

ENGLISH = "eng_Latn"
_LATIN = "_Latn"


@dataclass(frozen=True, slots=True)
class ConfusionPoint:
    """The first English token of an answer that should be in another language.

    Attributes:
        prompt: The prompt.
        before: The answer up to this point.
        token: The token there, as text.
        after: The answer after this token.
        at: How many tokens the model had generated before.
        ids: The token ids of prompt and answer before this point.
        target: The id of the token there.
        text: Prompt and answer before this point as text: what `attribution` takes, with `target`.
    """

    prompt: Prompt
    before: str
    token: str
    after: str
    at: int
    ids: tuple[int, ...]
    target: int
    text: str


def confusion_points(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    identify: Identify,
    *,
    chat: bool = False,
    max_new_tokens: int = 100,
    stop: Sequence[int] = (),
    batch_size: int = 32,
) -> list[ConfusionPoint | None]:
    """Find where answers slip into English, one point per prompt at most.

    Answers are generated greedily. The point is the first generated token that, decoded alone, is English and
    begins with an ASCII letter; punctuation and empty tokens are passed over. Where the wanted language is
    not in Latin script, the letter alone decides, and the identifier is not asked.

    Args:
        model: A causal language model; it answers as it is, steered if inside `steer`.
        tokenizer: Its tokenizer.
        prompts: Prompts whose answers should be in other languages than English.
        identify: From text to language code. It is asked about single tokens, so it often errs: give one that
            knows your languages only, such as `ManyLanguages(["en", "de"])`.
        chat: As in `answer_prompts`.
        max_new_tokens: The longest answer.
        stop: Ids of tokens that end an answer, besides the model's own.
        batch_size: The most prompts that are answered at once.

    Returns:
        Per prompt its point; None where the answer does not slip.

    Raises:
        ArgumentError: No prompt, one that wants English, or a language that the identifier does not know.
        ModelError: A model that does not generate.

    Reference:
        Nie, Schmid and Schütze (2025), Mechanistic Understanding and Mitigation of Language Confusion in
        English-Centric Large Language Models, and its code, which passes the identifier over for Chinese.

    Example:
        >>> prompts = [Prompt("Guten Morgen", "de")]
        >>> points = confusion_points(model, tokenizer, prompts, lambda text: "eng_Latn", max_new_tokens=4)
        >>> len(points)
        1
    """
    prompts = checked_prompts(prompts)
    function_of("identify", identify, "text")
    wanted = sorted({one.language for one in prompts})
    if ENGLISH in wanted:
        raise ArgumentError("prompts hold one that wants English, into which nothing can slip; leave it out")
    check_known(identify, [one for one in [*wanted, ENGLISH] if one.endswith(_LATIN)])
    generation = greedy(model, max_new_tokens, stop)
    texts = shown(tokenizer, prompts, chat=chat)
    found = continue_each(model, tokenizer, texts, generation=generation, batch_size=batch_size)
    return [
        point_of(tokenizer, prompt, text, one, identify)
        for prompt, text, one in zip(prompts, texts, found, strict=True)
    ]


def point_of(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, text: str, answer: Sampled, identify: Identify
) -> ConfusionPoint | None:
    """Return where an answer slips into English, or None."""
    ids, start = answer.ids[0], answer.prompt
    for at in range(start, len(ids)):
        piece = _decoded(tokenizer, ids[at : at + 1]).strip()
        if not _is_english(piece, prompt.language, identify):
            continue
        before = _decoded(tokenizer, ids[start:at])
        return ConfusionPoint(
            prompt=prompt,
            before=before,
            token=piece,
            after=_decoded(tokenizer, ids[at + 1 :]),
            at=at - start,
            ids=tuple(ids[:at]),
            target=ids[at],
            text=text if at == start else _decoded(tokenizer, ids[:at]),
        )
    return None


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _is_english(piece: str, wanted: str, identify: Identify) -> bool:
    """Tell whether a token, decoded alone, is English and not of the wanted language."""
    if not piece or all(unicodedata.category(sign)[0] in "PSZC" for sign in piece):
        return False
    if not (piece[0].isascii() and piece[0].isalpha()):
        return False
    return not wanted.endswith(_LATIN) or identify(piece) == ENGLISH
