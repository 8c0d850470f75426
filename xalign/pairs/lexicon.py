"""Words in their contexts, and pairs of them: related ones, and controls."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.bitext import checked_sentences
from xalign.pairs.blank import is_blank
from xalign.pairs.item import WordSense
from xalign.pairs.items import ParallelItems
from xalign.pairs.languages import match_language, normalize_language
from xalign.pairs.words import Span, writes_spaces

_LETTERS = regex.compile(r"[\p{L}\p{M}'’\-‐·\u200c\u200d]+")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a language, with texts that it stands in.

    Attributes:
        language: Its language.
        forms: How it is written: one form, or several, such as synonyms.
        contexts: Texts that each hold one of the forms; without any, each form by itself is a context.

    Raises:
        PairsError: No form, an empty or repeated one, or a context that holds none of them as a whole word.
        ArgumentError: A language code that is unknown or ambiguous.
        ArgumentTypeError: Forms or contexts that are no texts.

    Example:
        >>> Word("grc_Grek", "ψυχή", ["ψυχή ἐστιν ἀθάνατος."]).occurrences
        [('ψυχή ἐστιν ἀθάνατος.', (0, 4))]
    """

    language: str
    forms: Sequence[str]
    contexts: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check everything."""
        object.__setattr__(self, "language", normalize_language(self.language))
        forms = (self.forms,) if isinstance(self.forms, str) else checked_sentences("forms", self.forms)
        if not forms or any(map(is_blank, forms)) or len(set(forms)) < len(forms):
            raise PairsError(f"forms={forms!r:.60} must be one or more, none empty, each another")
        object.__setattr__(self, "forms", tuple(forms))
        object.__setattr__(self, "contexts", checked_sentences("contexts", self.contexts))
        _ = self.occurrences

    @property
    def occurrences(self) -> list[tuple[str, Span]]:
        """Its contexts, each with the start and the end of the first place that holds a form."""
        if not self.contexts:
            return [(form, (0, len(form))) for form in self.forms]
        found = []
        for number, context in enumerate(self.contexts):
            spans = [span for form in self.forms if (span := find_word(context, form, self.language))]
            if not spans:
                raise PairsError(
                    f"context {number} of {self.forms[0]!r:.40} ({self.language}) does not hold it as a word "
                    f"of its own: {context!r:.60}; give each form as it stands there, or leave it out"
                )
            found.append((context, min(spans, key=lambda span: (span[0], -span[1]))))
        return found


def find_word(text: str, word: str, language: str) -> Span | None:
    """Return where a word stands in a text, ignoring case; None if it does not.

    In a language with spaces it must be a whole word; in one without, any place that spells it counts.

    Example:
        >>> find_word("The houses, a House.", "house", "eng_Latn")
        (14, 19)
    """
    inside = r"" if not writes_spaces(language) else r"(?<![\p{L}\p{M}\p{N}])"
    after = r"" if not writes_spaces(language) else r"(?![\p{L}\p{M}\p{N}])"
    found = regex.search(inside + regex.escape(word) + after, text, flags=regex.IGNORECASE)
    return None if found is None else found.span()


WordPair = tuple[Word, Word]


def sense_pairs(
    items: ParallelItems[WordSense], language: str, *, seed: int = 0
) -> tuple[list[WordPair], list[WordPair]]:
    """Make related pairs of the words for one sense, and control pairs of words for two senses.

    Args:
        items: Words by sense, as `load_items` reads Swadesh lists.
        language: The language to pair with the pivot.
        seed: Decides which senses are paired as controls; each word stands in one related and one control
            pair.

    Returns:
        Related pairs and control pairs, each (word of the language, word of the pivot).

    Raises:
        ArgumentError: A language that is not there, or the pivot.
        ArgumentTypeError: Items of another kind.

    Example:
        >>> rows = {"en": [WordSense("1", ("dog",)), WordSense("2", ("fish",))]}
        >>> rows["de"] = [WordSense("1", ("Hund",)), WordSense("2", ("Fisch",))]
        >>> related, control = sense_pairs(ParallelItems(rows), "de")
        >>> [(one.forms[0], other.forms[0]) for one, other in control]
        [('Hund', 'fish'), ('Fisch', 'dog')]
    """
    code = _other_language(items, language)
    words, pivot = (
        [Word(name, one.words, one.contexts) for one in items[name]] for name in (code, items.pivot)
    )
    order = list(range(len(words)))
    random.Random(whole_number("seed", seed)).shuffle(order)
    partner = dict(zip(order, order[1:] + order[:1], strict=True))
    control = [(word, pivot[partner[row]]) for row, word in enumerate(words)]
    return list(zip(words, pivot, strict=True)), control


def single_words(items: ParallelItems[WordSense]) -> ParallelItems[WordSense]:
    """Keep entries that are one word of letters, and senses that have such a word in every language.

    Lists of words hold labels too, like "1 sg." and "burn tr.". `source` says how many senses are left out.

    Raises:
        PairsError: Fewer than two senses are left.
        ArgumentTypeError: Items of another kind.

    Example:
        >>> english = [WordSense("1", ("I", "1 sg.")), WordSense("2", ("fish",)), WordSense("3", ("it",))]
        >>> german = [WordSense("1", ("ich",)), WordSense("2", ("Fisch",)), WordSense("3", ("3 sg.",))]
        >>> found = single_words(ParallelItems({"en": english, "de": german}))
        >>> [one.words for one in found["en"]], found.source
        ([('I',), ('fish',)], 'items, 1 of 3 senses without a single word left out')
    """
    _check_kind(items)
    sides = {
        code: [tuple(word for word in one.words if _LETTERS.fullmatch(word)) for one in side]
        for code, side in items.items()
    }
    kept = [row for row in range(items.n) if all(side[row] for side in sides.values())]
    if len(kept) < 2:  # noqa: PLR2004
        raise PairsError(
            f"{len(kept)} of {items.n} senses have a single word in every language; choose fewer"
        )
    made = {
        code: [
            WordSense(items[code][row].sense, side[row], _contexts(items[code][row], side[row]))
            for row in kept
        ]
        for code, side in sides.items()
    }
    left = items.n - len(kept)
    source = f"{items.source or 'items'}, {left} of {items.n} senses without a single word left out"
    return ParallelItems(made, items.pivot, ids=[items.ids[row] for row in kept], source=source)


def _contexts(sense: WordSense, words: Sequence[str]) -> tuple[str, ...]:
    """Return the contexts of a sense that hold one of the words that are kept."""
    return tuple(text for text in sense.contexts if any(word.casefold() in text.casefold() for word in words))


def _other_language(items: ParallelItems[WordSense], language: str) -> str:
    _check_kind(items)
    code = match_language(language, items)
    if code is None or code == items.pivot:
        raise ArgumentError(
            f"language={language!r:.40} must be one of {', '.join(items.languages)}, other than the pivot"
        )
    return code


def _check_kind(items: object) -> None:
    if not isinstance(items, ParallelItems) or items.kind is not WordSense:
        raise ArgumentTypeError(
            f"items must be words by sense, as load_items reads them, not {type(items).__name__}"
            + (f" of {items.kind.plural}" if isinstance(items, ParallelItems) else "")
        )
