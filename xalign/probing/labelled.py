"""Words with a label, and their states: what probes of words learn from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xalign.errors import ArgumentError
from xalign.finding.activations import Sites
from xalign.finding.token_values import token_values
from xalign.model.architectures.sites import Site
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.tokenizer_state import keeping
from xalign.pairs.conllu import AnnotatedSentence

Spans = tuple[tuple[int, int, str], ...]
LabelledTexts = Mapping[str, Sequence["LabelledText"]]


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A sentence some of whose words have a label.

    Attributes:
        text: The sentence.
        words: Per word that has a label: where it begins, where it ends, and the label.

    Raises:
        ArgumentError: A word outside the sentence, or without characters.

    Example:
        >>> LabelledText("Dogs bark.", ((0, 4, "NOUN"), (5, 9, "VERB"))).words[1]
        (5, 9, 'VERB')
    """

    text: str
    words: Spans = field(default=())

    def __post_init__(self) -> None:
        """Check that the words are in the sentence."""
        for start, end, label in self.words:
            if not 0 <= start < end <= len(self.text) or not self.text[start:end].strip() or not label:
                raise ArgumentError(
                    f"the word {label!r:.40} from {start} to {end} is not in a sentence of {len(self.text)} "
                    "characters"
                )


def labelled_texts(
    sentences: Mapping[str, Sequence[AnnotatedSentence]], attribute: str
) -> dict[str, tuple[LabelledText, ...]]:
    """Return the sentences of each language with one attribute of their words as the label.

    Words without the attribute have no label, and neither have parts of contractions, which have no
    characters of their own.

    Args:
        sentences: Language -> sentences, as `load_annotated` reads them.
        attribute: `"upos"`, `"relation"`, or a feature like `"Number"`.

    Raises:
        ArgumentError: An attribute that no word of some language has.

    Example:
        >>> from xalign.pairs.conllu import Word
        >>> dogs = AnnotatedSentence("Dogs bark", (Word("Dogs", 0, 4, "NOUN"), Word("bark", 5, 9, "VERB")))
        >>> labelled_texts({"eng_Latn": [dogs]}, "upos")["eng_Latn"][0].words
        ((0, 4, 'NOUN'), (5, 9, 'VERB'))
    """
    found = {}
    for code, own in sentences.items():
        found[code] = tuple(LabelledText(one.text, _labels(one, attribute)) for one in own)
        if not any(one.words for one in found[code]):
            known = {name for one in own for word in one.words for name in ("upos", *word.features)}
            raise ArgumentError(
                f"attribute={attribute!r:.40}: no word in {code} has it; there are {', '.join(sorted(known))}"
            )
    return found


def _labels(sentence: AnnotatedSentence, attribute: str) -> Spans:
    values = [(word, word.attribute(attribute)) for word in sentence.words if not word.is_part]
    return tuple((word.start, word.end, value) for word, value in values if value is not None)


@dataclass(frozen=True, slots=True)
class WordStates:
    """The states of all labelled words of all languages at one site.

    Attributes:
        site: The place.
        values: Per word, the mean of the states of its tokens.
        language: Per word, the number of its language.
        sentence: Per word, the number of its sentence within its language.
        label: Per word, its label.
    """

    site: Site
    values: Float[Tensor, "word width"]
    language: Int[Tensor, " word"]
    sentence: Int[Tensor, " word"]
    label: tuple[str, ...]


def word_states(
    model: nn.Module, tokenizer: Any, texts: LabelledTexts, sites: Sites, **options: Any
) -> Iterator[WordStates]:
    """Run sentences through a model and yield the states of their labelled words, one site at a time.

    A word's state is the mean over its tokens. These are all tokens that share a character with it, even if
    they extend beyond it.

    Args:
        model: The model.
        tokenizer: Its tokenizer, a fast one: it must tell which characters a token stands for.
        texts: Language -> sentences with labelled words.
        sites: As in `token_values`.
        **options: `truncate`, `source_codes`, `token_budget` and `experts` of `token_values`.

    Yields:
        The states of one site.

    Raises:
        ArgumentError: A slow tokenizer, or a word of which no token is left.

    Example:
        >>> texts = {"eng_Latn": [LabelledText("Dogs bark.", ((0, 4, "NOUN"), (5, 9, "VERB")))]}
        >>> (found,) = word_states(model, tokenizer, texts, "0.hidden")
        >>> found.values.shape[0], found.label
        (2, ('NOUN', 'VERB'))
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ArgumentError(
            f"tokenizer: {type(tokenizer).__name__} does not tell which characters a token stands for; load "
            "it with use_fast=True"
        )
    plain = {code: [one.text for one in own] for code, own in texts.items()}
    tokens, start = [], 0
    for code, own in texts.items():
        found, count = _tokens_of_words(model, tokenizer, own, code, options)
        tokens += [rows + start for rows in found]
        start += count
    places = [
        (number, row, label)
        for number, own in enumerate(texts.values())
        for row, one in enumerate(own)
        for _, _, label in one.words
    ]
    language, sentence = (torch.tensor(column) for column in list(zip(*places, strict=True))[:2])
    for of_site in token_values(model, tokenizer, plain, sites, pool_special_tokens=False, **options):
        values = torch.stack([of_site.values[rows].mean(dim=0) for rows in tokens])
        yield WordStates(of_site.site, values, language, sentence, tuple(label for *_, label in places))


def _tokens_of_words(
    model: nn.Module, tokenizer: Any, own: Sequence[LabelledText], code: str, options: Mapping[str, Any]
) -> tuple[list[Int[Tensor, " token"]], int]:
    """Return per word the numbers of its tokens among all that are read, and how many these are."""
    kept = {name: options[name] for name in ("truncate", "source_codes") if name in options}
    texts = [one.text for one in own]
    encoded = Inputs(model, tokenizer).encode(texts, code, TextOptions(pool_special_tokens=False, **kept))
    with keeping(tokenizer):
        coded = tokenizer(texts, return_offsets_mapping=True, padding=False, truncation=False, verbose=False)
    found, start = [], 0
    for row, (one, offsets, mask) in enumerate(
        zip(own, coded["offset_mapping"], encoded.pooled, strict=True)
    ):
        spans = [span for span, is_read in zip(offsets, mask, strict=False) if is_read]
        for begin, end, label in one.words:
            inside = [at for at, (left, right) in enumerate(spans) if left < end and right > begin]
            if not inside:
                raise ArgumentError(
                    f"{code}, sentence {row}: no token is left of the word {label!r:.30} from {begin} to "
                    f"{end}; leave it out, or do not truncate"
                )
            found.append(start + torch.tensor(inside))
        start += len(spans)
    return found, start
