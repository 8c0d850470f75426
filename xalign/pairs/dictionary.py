"""`load_dictionary`: words and their translations, from a file of two columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.bitext import checked_sentences
from xalign.pairs.blank import is_blank
from xalign.pairs.languages import normalize_language
from xalign.pairs.lines import read_lines
from xalign.pairs.words import Span, word_spans

# What follows the two languages in the names of MUSE's dictionaries, like en-de.0-5000.txt.
_NAME = regex.compile(r"([A-Za-z]{2,3}(?:_[A-Za-z]{4})?)-([A-Za-z]{2,3}(?:_[A-Za-z]{4})?)(?:\..*)?")


@dataclass(frozen=True)
class BilingualDictionary:
    """Words of a pivot language, each with its translations into another.

    Attributes:
        language: The language of the translations.
        pivot: The language of the words.
        entries: Word -> its translations, at least one.
        source: Where it comes from, for provenance.

    Raises:
        PairsError: No entry, or a word or translation that shows nothing.
        ArgumentError: A language code that is unknown or ambiguous, or one language on both sides.
        ArgumentTypeError: `entries` maps no words to lists of words.

    Example:
        >>> dictionary = BilingualDictionary("de", "en", {"house": ("Haus", "Gebäude")})
        >>> dictionary.translations("House"), dictionary.translations("tree")
        (('Haus', 'Gebäude'), ())
    """

    language: str
    pivot: str
    entries: Mapping[str, tuple[str, ...]]
    source: str | None = None
    _folded: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything, and prepare to find words in any case."""
        for name in ("language", "pivot"):
            object.__setattr__(self, name, normalize_language(getattr(self, name)))
        if self.language == self.pivot:
            raise ArgumentError(f"language={self.language!r} is the pivot's; a dictionary has two languages")
        if not isinstance(self.entries, Mapping):
            raise ArgumentTypeError(
                f"entries must map words to translations, not be {type(self.entries).__name__}"
            )
        entries = {word: _checked(word, given) for word, given in self.entries.items()}
        if not entries:
            raise PairsError("entries is empty; a dictionary needs at least one word")
        folded: dict[str, tuple[str, ...]] = {}
        for word, translations in entries.items():
            folded[word.casefold()] = folded.get(word.casefold(), ()) + translations
        object.__setattr__(self, "entries", entries)
        object.__setattr__(
            self, "_folded", {word: tuple(dict.fromkeys(all_)) for word, all_ in folded.items()}
        )

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.entries)

    def translations(self, word: str) -> tuple[str, ...]:
        """Return the translations of a word, as written or else ignoring case; none if it is not an entry."""
        return self.entries.get(word) or self._folded.get(word.casefold(), ())

    def spans(self, text: str) -> list[Span]:
        """Return where each word of a text in the pivot language starts and ends, whether an entry or not.

        Text in a script without spaces is split into the longest entries, as written.
        """
        return word_spans(text, self.pivot, self.entries)

    def coverage(self, texts: Sequence[str]) -> float:
        """Return the share of the words of some texts that have a translation in this dictionary, in [0, 1].

        Raises:
            PairsError: Texts without any word.

        Example:
            >>> BilingualDictionary("de", "en", {"house": ("Haus",)}).coverage(["The old house."])
            0.3333333333333333
        """
        words = [
            text[start:end] for text in checked_sentences("texts", texts) for start, end in self.spans(text)
        ]
        if not words:
            raise PairsError("texts holds no word")
        return sum(bool(self.translations(word)) for word in words) / len(words)


def _checked(word: object, translations: object) -> tuple[str, ...]:
    """Return the translations of a word, each once."""
    given = checked_sentences(f"the translations of {word!r:.60}", translations)
    checked_sentences("entries", [word])
    if not given or any(map(is_blank, (str(word), *given))):
        raise PairsError(f"the entry {word!r:.60} has an empty side; give a word and its translations")
    return tuple(dict.fromkeys(given))


def load_dictionary(
    path: str | Path, language: str | None = None, pivot: str = "eng_Latn"
) -> BilingualDictionary:
    """Read a bilingual dictionary: a word and a translation per line, as in MUSE.

    Columns are separated by a tab, or where a line has none by spaces. A word with several translations has
    several lines. The first column is in the pivot language, unless the name of the file says otherwise, as
    `de-en.txt` does.

    Args:
        path: A UTF-8 file.
        language: The language of the translations; None reads both languages off the file's name, like
            `en-de.txt` or `en-de.0-5000.txt`.
        pivot: The language of the words.

    Raises:
        PairsError: A file that cannot be read, is empty, or has a line that is not two columns; the error
            names the line.
        ArgumentError: A language code that is unknown or ambiguous, or a name that does not say the languages
            where none is given.
    """
    path, pivot = Path(path), normalize_language(pivot)
    columns = (0, 1)
    if language is None:
        language, columns = _languages_of(path, pivot)
    entries: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) != 2 or any(map(is_blank, fields)):  # noqa: PLR2004
            raise PairsError(
                f"{path}, line {number} has {len(fields)} column(s) and not a word and its translation; put "
                "a tab between them, or remove the line"
            )
        word, translation = (fields[column].strip() for column in columns)
        entries.setdefault(word, []).append(translation)
    if not entries:
        raise PairsError(f"{path} is empty; a dictionary has a word and its translation per line")
    found = {word: tuple(translations) for word, translations in entries.items()}
    return BilingualDictionary(language, pivot, found, source=path.name)


def _languages_of(path: Path, pivot: str) -> tuple[str, tuple[int, int]]:
    """Return the other language in a file's name, and which column is the pivot's and which the other's."""
    named = _NAME.fullmatch(path.name)
    codes = [] if named is None else [normalize_language(code) for code in named.groups()]
    if pivot not in codes:
        raise ArgumentError(
            f"language=None reads both languages off the file's name, and {path.name!r:.80} names no pair "
            f"with {pivot}; name it like en-de.txt, or pass language="
        )
    at = codes.index(pivot)
    return codes[1 - at], (at, 1 - at)
