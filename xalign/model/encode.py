"""`encode`: turn sentences into token ids, and tell which of the tokens are pooled."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.batches import Line
from xalign.renamed import renamed

Template = str | Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Sentences as token ids.

    Attributes:
        ids: Token ids per sentence, special tokens included as the tokenizer adds them.
        pooled: Per sentence, which of its tokens are pooled.
        own_tokens: Per sentence, the number of its own tokens: without special tokens and the template's.
        unknown_tokens: Per sentence, how many of its own tokens are the unknown token.
    """

    ids: tuple[tuple[int, ...], ...]
    pooled: tuple[tuple[bool, ...], ...]
    own_tokens: tuple[int, ...]
    unknown_tokens: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.ids)

    @property
    def lines(self) -> list[Line]:
        """Per sentence its token ids, and which of them are pooled."""
        return list(zip(self.ids, self.pooled, strict=True))

    @property
    def pooled_tokens(self) -> list[int]:
        """Per sentence, how many tokens are pooled."""
        return list(map(sum, self.pooled))

    @property
    def pooled_ids(self) -> list[list[int]]:
        """Per sentence, the ids of its pooled tokens."""
        return [
            [token for token, pooled in zip(ids, mask, strict=True) if pooled]
            for ids, mask in zip(self.ids, self.pooled, strict=True)
        ]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    *,
    language: str = "",
    template: Template | None = None,
    template_pooled: bool = False,
    pool_special_tokens: bool = True,
    context: int | None = None,
    truncate: bool = False,
    vocabulary: int | None = None,
    ids: Sequence[str] | None = None,
    mark: int | None = None,
) -> Encoded:
    """Tokenize sentences one by one, without padding, whatever the tokenizer's own settings are.

    Args:
        tokenizer: A transformers tokenizer; it needs no pad token.
        sentences: The sentences.
        language: Their code, for a template that is a function and for error messages.
        template: `"query: {text}"`, or a function (text, language) -> text that keeps the sentence in its
            text.
        template_pooled: Pool the template's tokens and special tokens too, not only the sentence's own.
        pool_special_tokens: Without a template, whether the special tokens that the tokenizer adds are
            pooled.
        context: The largest number of tokens that the model takes.
        truncate: Cut longer sentences to `context` instead of refusing them.
        vocabulary: Number of tokens that the model embeds.
        ids: Names of the sentences for error messages; row numbers where None.
        mark: The id of the token that marks a sentence with its language, which is never pooled.

    Raises:
        ArgumentError: A template without `{text}` or that changes the sentence, a sentence longer than the
            context, one without any token to pool, or ids that the model does not embed.
    """
    names = [str(row) for row in range(len(sentences))] if ids is None else ids
    filled = (
        fill_template(template, one, language, name) for name, one in zip(names, sentences, strict=True)
    )
    texts, spans = zip(*filled, strict=True)
    own_only = template is not None and not template_pooled
    if own_only and not _has_offsets(tokenizer):
        raise _needs_offsets(tokenizer, template)
    tokens, own = _tokenize(tokenizer, texts, spans)
    if own_only or (template is None and not pool_special_tokens):
        pooled = own
    else:
        pooled = [_without(mark, *line) for line in zip(tokens, own, strict=True)]
    where = f" in {language}" if language else ""
    if context is not None:
        if not truncate:
            _check_lengths(tokens, context, names, where)
        tokens = [line[:context] for line in tokens]
        pooled, own = ([line[:context] for line in masks] for masks in (pooled, own))
    empty = [name for name, line in zip(names, pooled, strict=True) if not any(line)]
    if empty:
        raise ArgumentError(f"sentence(s) {', '.join(empty[:5])}{where} have no token to pool")
    refuse_unknown_ids(tokens, vocabulary)
    unknown = tuple(_count_unknown(tokenizer, own, tokens))
    return Encoded(tuple(tokens), tuple(pooled), tuple(map(sum, own)), unknown)


def refuse_unknown_ids(lines: Iterable[Sequence[int]], vocabulary: int | None) -> None:
    """Raise an error where lines hold ids that the model does not embed, as of another model's tokenizer."""
    largest = max(map(max, lines))
    if vocabulary is not None and largest >= vocabulary:
        raise ArgumentError(
            f"the tokenizer gave token id {largest}, and the model embeds {vocabulary} tokens: pass the "
            "tokenizer that belongs to the model, or resize the model's embedding"
        )


def _has_offsets(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(getattr(tokenizer, "is_fast", False))


def _needs_offsets(tokenizer: PreTrainedTokenizerBase, template: Template | None) -> ArgumentError:
    return ArgumentError(
        f"template={template!r} needs a fast tokenizer to tell the sentence's tokens from the template's, "
        f"and {type(tokenizer).__name__} is slow; pass template_pooled=True or load it with use_fast=True"
    )


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], spans: Sequence[tuple[int, int]]
) -> tuple[list[tuple[int, ...]], list[tuple[bool, ...]]]:
    """Return the token ids of each text, and which of its tokens are the sentence's own."""
    has_offsets = _has_offsets(tokenizer)
    coded = tokenizer(
        list(texts),
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_special_tokens_mask=True,
        return_offsets_mapping=has_offsets,
        verbose=False,
    )
    tokens: list[tuple[int, ...]] = [tuple(line) for line in coded["input_ids"]]
    offsets = coded["offset_mapping"] if has_offsets else [None] * len(tokens)
    return tokens, [_own(*line) for line in zip(coded["special_tokens_mask"], offsets, spans, strict=True)]


def _without(mark: int | None, tokens: tuple[int, ...], own: tuple[bool, ...]) -> tuple[bool, ...]:
    """Return True at all tokens but the mark. A sentence's own token may have the same id."""
    return tuple(is_own or token != mark for token, is_own in zip(tokens, own, strict=True))


def _check_lengths(tokens: Sequence[tuple[int, ...]], context: int, names: Sequence[str], where: str) -> None:
    too_long = [
        f"{name} ({len(line)})" for name, line in zip(names, tokens, strict=True) if len(line) > context
    ]
    if too_long:
        raise ArgumentError(
            f"{len(too_long)} sentence(s){where} have more tokens than the model's context of {context}: "
            f"{', '.join(too_long[:5])}{' …' if len(too_long) > 5 else ''}; cut them with "
            "truncate=True (an alignment loss: max_length=), or leave them out"
        )


def _count_unknown(
    tokenizer: PreTrainedTokenizerBase, own: Iterable[tuple[bool, ...]], lines: Iterable[tuple[int, ...]]
) -> Iterator[int]:
    """Yield per line how many of its own tokens the tokenizer does not know."""
    unknown = tokenizer.unk_token_id  # once: transformers looks it up anew each time
    for flags, tokens in zip(own, lines, strict=True):
        yield sum(mine and token == unknown for mine, token in zip(flags, tokens, strict=True))


def fill_template(
    template: Template | None, sentence: str, language: str, name: str
) -> tuple[str, tuple[int, int]]:
    """Return the text to tokenize, and where the sentence begins and ends in it."""
    if template is None:
        return sentence, (0, len(sentence))
    if isinstance(template, str):
        if template.count("{text}") != 1:
            raise ArgumentError(
                f"template={template!r} must hold {{text}} exactly once, like 'query: {{text}}'"
            )
        start = template.index("{text}")
        return template.replace("{text}", sentence), (start, start + len(sentence))
    if not callable(template):
        raise ArgumentTypeError(
            f"template must be a string or a function (text, language) -> text, not {template!r}"
        )
    text = template(sentence, language)
    if not isinstance(text, str) or text.count(sentence) != 1:
        raise ArgumentError(
            "template(text, language) must return a text that holds the sentence exactly once; for sentence "
            f"{name} of {language or 'these'} it gave "
            + (
                f"one that holds it {text.count(sentence)} times"
                if isinstance(text, str)
                else f"{type(text)}"
            )
        )
    return text, (text.index(sentence), text.index(sentence) + len(sentence))


def _own(
    special: Sequence[int], offsets: Sequence[tuple[int, int]] | None, span: tuple[int, int]
) -> tuple[bool, ...]:
    """Return which tokens are the sentence's own: not special, and within its span if offsets are known."""
    if offsets is None:
        return tuple(not is_special for is_special in special)
    return tuple(
        not is_special and start < span[1] and end > span[0]
        for is_special, (start, end) in zip(special, offsets, strict=True)
    )


def __getattr__(name: str) -> Any:
    return renamed(__name__, name)
