"""`encode`: sentences to right-padded, length-bucketed batches under a token budget."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from xalign.arguments import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError

Template = str | Callable[[str, str], str]
Line = tuple[tuple[int, ...], tuple[bool, ...]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Sentences as token ids.

    Attributes:
        ids: Token ids per sentence, special tokens included as the tokenizer adds them.
        pooled: Per sentence, which of its tokens are pooled.
        own_tokens: Per sentence, how many tokens are its own: no special token, nothing of the template.
        unknown_tokens: Of those, how many are the unknown token.
    """

    ids: tuple[tuple[int, ...], ...]
    pooled: tuple[tuple[bool, ...], ...]
    own_tokens: tuple[int, ...]
    unknown_tokens: tuple[int, ...]

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.ids)

    @property
    def lines(self) -> list[Line]:
        """Per sentence its token ids, and which of them are pooled."""
        return list(zip(self.ids, self.pooled, strict=True))

    @property
    def pooled_ids(self) -> list[list[int]]:
        """Per sentence, the ids of its pooled tokens."""
        return [
            [token for token, pooled in zip(ids, mask, strict=True) if pooled]
            for ids, mask in zip(self.ids, self.pooled, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences of similar length, padded on the right.

    Attributes:
        input_ids: Token ids, [batch, token].
        attention_mask: 1 at real tokens, [batch, token].
        pooled: True at tokens that are pooled, [batch, token].
        rows: Per line of the batch, the rows of the sentences it stands for: equal sentences are run once, so
            that their states are equal to the bit and tie.
    """

    input_ids: Int[Tensor, "batch token"]
    attention_mask: Int[Tensor, "batch token"]
    pooled: Bool[Tensor, "batch token"]
    rows: tuple[tuple[int, ...], ...]

    def halves(self) -> tuple["Batch", "Batch"]:
        """The same lines in two batches, padded as they are here."""
        middle = len(self.rows) // 2
        first, second = (
            Batch(self.input_ids[part], self.attention_mask[part], self.pooled[part], self.rows[part])
            for part in (slice(middle), slice(middle, None))
        )
        return first, second


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
) -> Encoded:
    """Tokenizes sentences, one by one and without padding, whatever the tokenizer's own settings are.

    Args:
        tokenizer: A transformers tokenizer; a pad token is not needed.
        sentences: The sentences.
        language: Their code, for a template that is a function and for error messages.
        template: `"query: {text}"`, or a function (text, language) -> text that keeps the sentence in its
            text.
        template_pooled: Pools the template's tokens and special tokens too, not only the sentence's own.
        pool_special_tokens: Without a template, whether the special tokens that the tokenizer adds are
            pooled.
        context: The most tokens the model takes.
        truncate: Cuts longer sentences to `context` instead of refusing them.
        vocabulary: How many tokens the model embeds.
        ids: Names of the sentences for error messages; row numbers where absent.

    Raises:
        ArgumentError: A template without `{text}` or that changes the sentence, a sentence longer than the
            context, one without any token to pool, or ids that the model does not embed.
    """
    names = ids if ids is not None else [str(row) for row in range(len(sentences))]
    texts, spans = zip(*(_fill(template, sentence, language) for sentence in sentences), strict=True)
    own_only = template is not None and not template_pooled
    has_offsets = bool(getattr(tokenizer, "is_fast", False))
    if own_only and not has_offsets:
        raise ArgumentError(
            f"template={template!r} needs a fast tokenizer to tell the sentence's tokens from the "
            f"template's, and {type(tokenizer).__name__} is slow; pass template_pooled=True or load it with "
            "use_fast=True"
        )
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
    own = [_own(*line) for line in zip(coded["special_tokens_mask"], offsets, spans, strict=True)]
    if own_only or (template is None and not pool_special_tokens):
        pooled = own
    else:
        pooled = [(True,) * len(line) for line in tokens]
    where = f" in {language}" if language else ""
    if context is not None:
        too_long = [
            f"{name} ({len(line)})" for name, line in zip(names, tokens, strict=True) if len(line) > context
        ]
        if too_long and not truncate:
            raise ArgumentError(
                f"{len(too_long)} sentence(s){where} have more tokens than the model's context of {context}: "
                f"{', '.join(too_long[:5])}{' …' if len(too_long) > 5 else ''}; cut them with "
                "truncate=True (an alignment loss: max_length=), or leave them out"
            )
        tokens = [line[:context] for line in tokens]
        pooled, own = ([line[:context] for line in masks] for masks in (pooled, own))
    empty = [name for name, line in zip(names, pooled, strict=True) if not any(line)]
    if empty:
        raise ArgumentError(f"sentence(s) {', '.join(empty[:5])}{where} have no token to pool")
    refuse_unknown_ids(tokens, vocabulary)
    return Encoded(
        ids=tuple(tokens),
        pooled=tuple(pooled),
        own_tokens=tuple(sum(line) for line in own),
        unknown_tokens=tuple(
            sum(mine and token == tokenizer.unk_token_id for mine, token in zip(mask, line, strict=True))
            for mask, line in zip(own, tokens, strict=True)
        ),
    )


def make_batches(
    lines: Iterable[Line], *, pad_id: int, token_budget: int | None = None, size: int | None = None
) -> list[Batch]:
    """Groups sentences by length and pads each group on the right.

    Args:
        lines: Per sentence its token ids and which of them are pooled, as `Encoded.lines` gives them.
        pad_id: The id to pad with; padded positions are masked.
        token_budget: The most tokens of a batch, padding included; a longer sentence gets a batch of its own.
        size: The most sentences of a batch. Without either, all go into one.
    """
    token_budget = None if token_budget is None else whole_number("token_budget", token_budget, least=1)
    rows_of: dict[Line, list[int]] = {}
    for row, line in enumerate(lines):
        rows_of.setdefault(line, []).append(row)
    # The longest first, so that memory that does not suffice is found out at once.
    waiting = sorted(rows_of, key=lambda line: len(line[0]), reverse=True)
    batches = []
    while waiting:
        count = len(waiting) if token_budget is None else max(1, token_budget // len(waiting[0][0]))
        count = count if size is None else min(count, size)
        taken, waiting = waiting[:count], waiting[count:]
        ids, masks = zip(*taken, strict=True)
        batches.append(
            Batch(
                input_ids=_padded(ids, pad_id),
                attention_mask=_padded([(1,) * len(line) for line in ids], 0),
                pooled=_padded(masks, False),
                rows=tuple(tuple(rows_of[line]) for line in taken),
            )
        )
    return batches


def pad_documents(documents: Sequence[Sequence[int]], pad_id: int = 0) -> dict[str, Tensor]:
    """One batch to learn from, padded on the right: ids, mask, and labels; padding has no loss."""
    return {
        "input_ids": _padded(documents, pad_id),
        "attention_mask": _padded([[1] * len(ids) for ids in documents], 0),
        "labels": _padded(documents, -100),
    }


def _padded(lines: Sequence[Sequence[int]], value: int) -> Tensor:
    """Lines of different lengths as one tensor, filled up on the right."""
    longest = max(map(len, lines))
    return torch.tensor([[*line, *[value] * (longest - len(line))] for line in lines])


def pad_id_of(tokenizer: PreTrainedTokenizerBase, below: int | None = None) -> int:
    """An id to pad with: the pad token's, else the end-of-sequence token's, else 0; all are masked.

    A pad token that was added without room in the model's embedding, which has ids `below` some number, is
    passed over.
    """
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None and (below is None or token_id < below):
            return int(token_id)
    return 0


def context_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The most tokens that both model and tokenizer take; None where neither says."""
    config = getattr(getattr(model, "module", model), "config", None)  # DDP keeps the model in `module`
    if config is None:
        raise ModelError(f"{type(model).__name__} has no config; pass a transformers model")
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    limits = [tokenizer.model_max_length]
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa counts positions from its padding id + 1.
        shifted = text.model_type in ("roberta", "xlm-roberta")
        limits.append(positions - (text.pad_token_id + 1 if shifted else 0))
    known = [limit for limit in limits if limit is not None and 0 < limit < 10**9]
    return min(known, default=None)


def vocabulary_of(model: Any) -> int | None:
    """How many tokens the model embeds; None where it does not say."""
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    return getattr(embedding, "num_embeddings", None)


def refuse_unknown_ids(lines: Iterable[Sequence[int]], vocabulary: int | None) -> None:
    """An error where lines hold ids that the model does not embed: the tokenizer is another model's."""
    largest = max(map(max, lines))
    if vocabulary is not None and largest >= vocabulary:
        raise ArgumentError(
            f"the tokenizer gave token id {largest}, and the model embeds {vocabulary} tokens: pass the "
            "tokenizer that belongs to the model, or resize the model's embedding"
        )


def _fill(template: Template | None, sentence: str, language: str) -> tuple[str, tuple[int, int]]:
    """The text to tokenize, and where the sentence stands in it."""
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
            f"template(text, language) must return a text that holds the sentence exactly once; for "
            f"{sentence[:60]!r} it gave {text!r:.80}"
        )
    return text, (text.index(sentence), text.index(sentence) + len(sentence))


def _own(
    special: Sequence[int], offsets: Sequence[tuple[int, int]] | None, span: tuple[int, int]
) -> tuple[bool, ...]:
    """Which tokens are the sentence's own: not special, and where offsets are known within its span."""
    if offsets is None:
        return tuple(not is_special for is_special in special)
    return tuple(
        not is_special and start < span[1] and end > span[0]
        for is_special, (start, end) in zip(special, offsets, strict=True)
    )
