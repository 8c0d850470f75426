"""What a diagnosis reports about a model, its tokenizer and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import XAlignError
from xalign.model.architectures.expert_claims import NO_MIXTURE
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.printed import alike
from xalign.model.audio_inputs import AudioInputs, Recording
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.placement import device_of
from xalign.model.wrapped import base_model_of
from xalign.pairs.words import writes_spaces


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that is refused, or that the user should know before a measurement.

    Attributes:
        what: What it is about, such as `metric nasca` or `deu_Latn`.
        reason: Why.
        remedy: What to do; empty where the reason says it.
        stops: Whether `measure` would not run.
    """

    what: str
    reason: str
    remedy: str = ""
    stops: bool = True


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """Consecutive blocks that have the same sites.

    Attributes:
        first: The first of them.
        last: The last of them.
        widths: Kind of site -> the width of each site of one block. That of `inner` is its number of neurons.
        experts: Kind of site in a mixture -> the number of experts.
        refused: Kind -> why there is none.
        proved: How the sites were verified; empty if a layout names them.
    """

    first: int
    last: int
    widths: dict[str, tuple[int, ...]]
    experts: dict[str, int]
    refused: dict[str, str]
    proved: str


@dataclass(frozen=True, slots=True)
class StackFacts:
    """A stack of blocks.

    Attributes:
        name: Its name; empty where there is one.
        width: Width of its residual stream.
        blocks: Its blocks.
        not_run: Modules among the blocks that text alone does not run.
    """

    name: str
    width: int
    blocks: tuple[BlockFacts, ...]
    not_run: tuple[str, ...]

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.blocks[-1].last + 1

    @property
    def neurons(self) -> int:
        """Number of feed-forward neurons of all blocks, those of experts among them."""
        return sum(
            (block.last - block.first + 1) * width
            for block in self.blocks
            for kind, widths in block.widths.items()
            if kind.endswith("inner")
            for width in widths
        )


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model.

    Attributes:
        class_name: Its class.
        architecture: The model type of its config; empty where its blocks were not found.
        parameters: Number of parameters. Those that modules share count once.
        dtypes: Data types of the parameters, the most frequent first.
        device: Where it runs.
        stacks: Its stacks.
    """

    class_name: str
    architecture: str
    parameters: int
    dtypes: tuple[str, ...]
    device: str
    stacks: tuple[StackFacts, ...]


@dataclass(frozen=True, slots=True)
class LanguageFacts:
    """What the tokenizer makes of the sentences of a language. The tokens of recordings are frames.

    Attributes:
        sentences: Number of sentences.
        tokens_per_sentence: Mean number of tokens, without special tokens and template.
        tokens_per_word: Mean number of tokens per word between spaces; None for scripts that write no spaces,
            and for recordings.
        unknown_share: The share of tokens that are the unknown token.
        longest: Tokens of the longest sentence, with everything that is added to it.
        mark: The code with which the tokenizer marks its sentences; None if it marks none, or has no code for
            this language.
    """

    sentences: int
    tokens_per_sentence: float
    tokens_per_word: float | None
    unknown_share: float
    longest: int
    mark: str | None


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """A tokenizer.

    Attributes:
        class_name: Its class.
        ids: Number of token ids.
        embedded: Number of tokens that the model embeds; None where it is not known.
        padding_side: The side on which it pads. xalign itself always pads on the right.
        pad_token: Its pad token; None where it has none. xalign needs none.
        context: The most tokens that model and tokenizer take; None without a limit.
        marks_languages: Whether it marks each sentence with the code of its language.
    """

    class_name: str
    ids: int
    embedded: int | None
    padding_side: str
    pad_token: str | None
    context: int | None
    marks_languages: bool


@dataclass(frozen=True, slots=True)
class ExtractorFacts:
    """A feature extractor.

    Attributes:
        class_name: Its class.
        rate: The samples per second that it takes. Recordings are resampled to it.
        seconds: The longest recording that it takes; None without a limit.
    """

    class_name: str
    rate: int
    seconds: float | None


def facts_of_model(model: nn.Module, model_map: ModelMap | None) -> ModelFacts:
    """Return the facts of a model, with its stacks where its blocks were found."""
    counts: dict[str, int] = {}
    for parameter in model.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        counts[name] = counts.get(name, 0) + parameter.numel()
    try:
        device = str(device_of(model))
    except XAlignError:
        device = "meta"
    return ModelFacts(
        class_name=type(base_model_of(model)).__name__,
        architecture="" if model_map is None else model_map.model_type,
        parameters=sum(counts.values()),
        dtypes=tuple(sorted(counts, key=lambda name: -counts[name])),
        device=device,
        stacks=() if model_map is None else tuple(_stack(model_map, name) for name in model_map.stacks),
    )


def _stack(model_map: ModelMap, name: str) -> StackFacts:
    stack = model_map.stack(name)
    blocks = tuple(
        BlockFacts(
            first,
            last,
            {
                kind: tuple(place.width for place in places)
                for kind, places in stack.blocks[first].places.items()
                if places
            },
            {
                kind: places[0].experts.count
                for kind, places in stack.blocks[first].places.items()
                if places and places[0].experts is not None
            },
            {kind: one for kind, one in stack.blocks[first].refused.items() if one != NO_MIXTURE},
            stack.blocks[first].notes,
        )
        for first, last in alike(stack.blocks)
    )
    return StackFacts(name, stack.width, blocks, tuple(model_map.not_run(name)))


def facts_of_extractor(inputs: AudioInputs) -> ExtractorFacts:
    """Return the facts of a feature extractor."""
    limit = None if inputs.context is None else inputs.context / inputs.rate
    return ExtractorFacts(type(inputs.extractor).__name__, inputs.rate, limit)


def facts_of_recordings(
    inputs: AudioInputs, language: str, recordings: Sequence[Recording], options: TextOptions
) -> LanguageFacts:
    """Return the facts of a spoken language.

    Raises:
        ArgumentError: A recording that is refused.
    """
    frames = inputs.encode(recordings, language, options).own_tokens
    return LanguageFacts(len(frames), sum(frames) / len(frames), None, 0.0, max(frames), None)


def facts_of_tokenizer(tokenizer: PreTrainedTokenizerBase, inputs: Inputs) -> TokenizerFacts:
    """Return the facts of a tokenizer."""
    return TokenizerFacts(
        class_name=type(tokenizer).__name__,
        ids=len(tokenizer),
        embedded=inputs.vocabulary,
        padding_side=tokenizer.padding_side,
        pad_token=None if tokenizer.pad_token is None else str(tokenizer.pad_token),
        context=inputs.context,
        marks_languages=getattr(tokenizer, "src_lang", None) is not None,
    )


def facts_of_language(
    inputs: Inputs, language: str, sentences: Sequence[str], options: TextOptions
) -> tuple[LanguageFacts, tuple[int, ...]]:
    """Return the facts of a language, and the number of tokens of each sentence, uncut.

    Args:
        inputs: What the model takes.
        language: The code of the language.
        sentences: Its sentences.
        options: How they become tokens.

    Raises:
        ArgumentError: A template that the sentences do not fit.
    """
    try:
        mark = inputs.language_token(language, options.source_codes)
    except XAlignError:  # it is refused where the sentences are encoded as they would be measured
        mark, language_of_text = None, ""
    else:
        language_of_text = language
    lenient = replace(options, max_length=None, source_codes=options.source_codes if mark else None)
    encoded = _without_limits(inputs).encode(sentences, language_of_text, lenient)
    own = sum(encoded.own_tokens)
    words = sum(len(sentence.split()) for sentence in sentences)
    lengths = tuple(map(len, encoded.ids))
    facts = LanguageFacts(
        sentences=len(sentences),
        tokens_per_sentence=own / len(sentences),
        tokens_per_word=own / words if writes_spaces(language) else None,
        unknown_share=sum(encoded.unknown_tokens) / max(own, 1),
        longest=max(lengths),
        mark=mark,
    )
    return facts, lengths


def _without_limits(inputs: Inputs) -> Inputs:
    """Return inputs that encode sentences of any length, with ids that the model may not embed."""
    unlimited: Any = object.__new__(Inputs)
    vars(unlimited).update(vars(inputs), context=None, vocabulary=None)
    found: Inputs = unlimited
    return found
