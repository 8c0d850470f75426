"""Which word each token belongs to. Words are what whitespace separates, as in `str.split()`."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.model.encode import Template, fill_template

_WORD = re.compile(r"\S+")
NO_WORD = -1


def words_of_tokens(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    *,
    language: str = "",
    template: Template | None = None,
) -> list[tuple[int, ...]]:
    """Return, per sentence, the number of each token's word, counted from 0; −1 for tokens of no word.

    A token that begins with the space before a word is that word's. A token over several words is the
    first's. Special tokens and those of a template belong to no word.

    Args:
        tokenizer: A fast tokenizer, which knows where in the text each token stands.
        sentences: The sentences.
        language: Their code, for a template that is a function.
        template: Text around each sentence, as in `encode`.

    Raises:
        ArgumentError: A tokenizer that is not fast, or a template that changes the sentence.

    Example:
        >>> words_of_tokens(tokenizer, ["It rains."])[0][:2]
        (-1, 0)
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ArgumentError(
            f"words need a fast tokenizer, which tells where its tokens stand in the text, and "
            f"{type(tokenizer).__name__} is slow; load it with use_fast=True"
        )
    filled = [fill_template(template, sentence, language, str(row)) for row, sentence in enumerate(sentences)]
    coded: Any = tokenizer(
        [text for text, _ in filled],
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    return [
        _numbers(sentence, offsets, start)
        for sentence, offsets, (_, (start, _)) in zip(sentences, coded["offset_mapping"], filled, strict=True)
    ]


def _numbers(sentence: str, offsets: Sequence[tuple[int, int]], start: int) -> tuple[int, ...]:
    spans = [word.span() for word in _WORD.finditer(sentence)]
    ends = [end for _, end in spans]

    def number(first: int, last: int) -> int:
        word = bisect_right(ends, first)  # the first word that ends behind the token's beginning
        return word if word < len(spans) and spans[word][0] < last else NO_WORD

    return tuple(number(first - start, last - start) for first, last in offsets)
