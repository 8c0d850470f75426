"""`Inputs`: what a model takes as input, worked out once from the model and its tokenizer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean, function_of, whole_number
from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.batch_cost import with_batch_cost
from xalign.model.batches import Batch, Line, make_batches
from xalign.model.encode import Encoded, Template, encode
from xalign.model.language_marks import Mark, mark_of
from xalign.model.tokenizer_state import keeping
from xalign.model.words import words_of_tokens
from xalign.model.wrapped import base_model_of, text_config_of, virtual_tokens
from xalign.options import COMPARED, option


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How sentences become tokens, and which of the tokens are pooled.

    Attributes:
        template: Text around each sentence, like `"query: {text}"`, or a function (text, language) -> text.
        template_pooled: Pool the template's and the special tokens too, not only the sentence's own.
        pool_special_tokens: Without a template, pool the special tokens that the tokenizer adds.
        truncate: Cut sentences that are longer than the model's context; without it they are refused.
        max_length: Cut sentences to this many tokens.
        source_codes: Language -> the code with which the tokenizer marks its sentences, like
            `{"nso_Latn": "ns"}`, where the tokenizer marks sentences and its code cannot be told from the
            language's.

    Raises:
        ArgumentTypeError: A switch that is not a boolean, a `max_length` that is not a whole number, or
            `source_codes` that are not text for text.
        ArgumentError: `max_length` below 2. The first token alone is often the same for all sentences.
    """

    template: Template | None = option(None, must_agree=COMPARED, hashed=False)
    template_pooled: bool = option(False, must_agree=COMPARED)
    pool_special_tokens: bool = option(True, must_agree=COMPARED)
    truncate: bool = option(False, must_agree=COMPARED)
    max_length: int | None = option(None, must_agree=COMPARED)
    source_codes: Mapping[str, str] | None = option(None, must_agree=COMPARED, hashed=False)

    def __post_init__(self) -> None:
        """Check types; the template is checked where it meets a sentence."""
        for name in ("template_pooled", "pool_special_tokens", "truncate"):
            boolean(name, getattr(self, name))
        if callable(self.template):
            function_of("template", self.template, "text", "language")
        if self.max_length is not None:
            object.__setattr__(self, "max_length", whole_number("max_length", self.max_length, least=2))
        codes = self.source_codes
        if codes is not None and not (
            isinstance(codes, Mapping) and all(isinstance(one, str) for pair in codes.items() for one in pair)
        ):
            raise ArgumentTypeError(
                f"source_codes={codes!r:.60} must map languages to the tokenizer's codes, like "
                "{'nso_Latn': 'ns'}"
            )


class Inputs:
    """What a model takes as input, and how sentences become batches of it.

    Args:
        model: The model; wrapped models (PEFT, DDP, compiled) are passed as they are called.
        tokenizer: Its tokenizer.

    Attributes:
        tokenizer: The tokenizer.
        context: The largest number of tokens that both model and tokenizer take; None where neither has a
            limit.
        vocabulary: Number of tokens that the model embeds; None where it is not known.
        pad_id: The id to pad with. Padded positions are always masked.

    Raises:
        ArgumentTypeError: `tokenizer` is not a transformers tokenizer.
        ModelError: The model has no config.

    Example:
        >>> inputs = Inputs(model, tokenizer)
        >>> encoded = inputs.encode(["It rains.", "Good night."])
        >>> (batch,) = inputs.batches(encoded.lines)
        >>> sorted(batch.inputs)
        ['attention_mask', 'input_ids']
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ArgumentTypeError(
                f"tokenizer must be a transformers tokenizer, not {type(tokenizer).__name__}"
            )
        self.tokenizer, self._model = tokenizer, model
        self.context = context_of(model, tokenizer)
        self.vocabulary = vocabulary_of(model)
        self.pad_id = pad_id_of(tokenizer, below=self.vocabulary)

    def encode(
        self,
        sentences: Sequence[str],
        language: str = "",
        options: TextOptions | None = None,
        ids: Sequence[str] | None = None,
    ) -> Encoded:
        """Tokenize sentences of one language.

        A tokenizer that marks sentences with their language (NLLB, M2M100, mBART) is told the language while
        it encodes; see `mark_of`. The token that it adds is not pooled. Afterwards the tokenizer is what it
        was.

        Args:
            sentences: The sentences.
            language: Their code, like `deu_Latn`: for tokenizers that mark the language, for a template that
                is a function, and for error messages.
            options: How to tokenize; the defaults of `TextOptions` where None.
            ids: Names of the sentences for error messages; row numbers where None.

        Raises:
            ArgumentError: As in `xalign.model.encode.encode`, or a language that the tokenizer has no code
                of.
        """
        options = options or TextOptions()
        limits = [limit for limit in (self.context, options.max_length) if limit is not None]
        with self._marking(language, options) as mark:
            return encode(
                self.tokenizer,
                sentences,
                language=language,
                template=options.template,
                template_pooled=options.template_pooled,
                pool_special_tokens=options.pool_special_tokens,
                context=min(limits, default=None),
                truncate=options.truncate or options.max_length is not None,
                vocabulary=self.vocabulary,
                ids=ids,
                mark=None if mark is None else mark.token_id,
            )

    def words(
        self, sentences: Sequence[str], language: str = "", options: TextOptions | None = None
    ) -> list[tuple[int, ...]]:
        """Return, per sentence, the number of each token's word, as `words_of_tokens`; nothing is cut.

        Args:
            sentences: The sentences.
            language: Their code, as in `encode`.
            options: How to tokenize, as in `encode`.

        Raises:
            ArgumentError: As in `words_of_tokens` and `encode`.
        """
        options = options or TextOptions()
        with self._marking(language, options):
            return words_of_tokens(self.tokenizer, sentences, language=language, template=options.template)

    @contextmanager
    def _marking(self, language: str, options: TextOptions) -> Iterator[Mark | None]:
        """Tell a tokenizer that marks sentences with their language which it is, inside the `with`."""
        mark, tokenizer = mark_of(self.tokenizer, language, options.source_codes), cast(Any, self.tokenizer)
        with keeping(tokenizer):
            if mark is not None:
                tokenizer.src_lang = mark.code
            yield mark

    def batches(self, lines: Iterable[Line], **limits: int | None) -> list[Batch]:
        """Group encoded lines into batches.

        Args:
            lines: The lines.
            **limits: Those of `make_batches`. Within a `token_budget`, `per_batch` is the model's
                `batch_cost` where it is not given.
        """
        return make_batches(lines, pad_id=self.pad_id, **with_batch_cost(self._model, limits))

    def language_token(self, language: str, source_codes: Mapping[str, str] | None = None) -> str | None:
        """Return the code to set as `tokenizer.src_lang`; None for tokenizers that do not mark languages.

        Args:
            language: A language code, like `deu_Latn`.
            source_codes: As in `TextOptions`.

        Raises:
            ArgumentError: As in `mark_of`.
        """
        mark = mark_of(self.tokenizer, language, source_codes)
        return None if mark is None else mark.code


def pad_id_of(tokenizer: PreTrainedTokenizerBase, below: int | None = None) -> int:
    """Return the id to pad with: the pad token's, else the end-of-sequence token's, else 0. All are masked.

    Args:
        tokenizer: The tokenizer.
        below: The number of tokens that the model embeds. An id that is not below it is passed over, as of a
            pad token that was added without resizing the model's embedding.
    """
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token_id is not None and (below is None or token_id < below):
            return int(token_id)
    return 0


def context_of(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the largest number of tokens that model and tokenizer take; None where neither has a limit.

    Raises:
        ModelError: The model has no config.
    """
    text = text_config_of(model)
    if text is None:
        raise ModelError(f"{type(model).__name__} has no config; pass a transformers model")
    limits = [tokenizer.model_max_length]
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa's positions start at its padding id + 1.
        shifted = text.model_type in ("roberta", "xlm-roberta")
        limits.append(positions - (text.pad_token_id + 1 if shifted else 0) - virtual_tokens(model))
    known = [limit for limit in limits if limit is not None and 0 < limit < 10**9]
    return min(known, default=None)


def vocabulary_of(model: nn.Module) -> int | None:
    """Return the number of tokens that the model embeds; None where it is not known."""
    embedding = getattr(base_model_of(model), "get_input_embeddings", lambda: None)()
    return getattr(embedding, "num_embeddings", None)
