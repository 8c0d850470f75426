"""Split text into words, in scripts with and without spaces between them."""

from collections.abc import Collection

import regex

from xalign.errors import ArgumentError

NO_SPACES = frozenset({"Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
"""Scripts that are written without spaces between words, by their ISO 15924 codes."""

# Letters, marks and digits, and what stands inside a word: apostrophes, hyphens, middle dots, joiners.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’\-‐·\u200c\u200d]+[\p{L}\p{M}\p{N}]+)*['’᾽]?(?!\w)")
_SIGN = regex.compile(r"\X")

Span = tuple[int, int]


def writes_spaces(language: str) -> bool:
    """Return whether a language, given as `deu_Latn`, is written with spaces between its words.

    Example:
        >>> writes_spaces("deu_Latn"), writes_spaces("jpn_Jpan")
        (True, False)
    """
    return language.rpartition("_")[2] not in NO_SPACES


def word_spans(text: str, language: str, known: Collection[str] | None = None) -> list[Span]:
    """Find the words of a text.

    Punctuation and spaces belong to no word. Text in a script without spaces is split into the longest words
    that are known, from the left; letters between these are words of their own.

    Args:
        text: The text.
        language: Its language, as `deu_Latn`.
        known: The words of a language without spaces, like the entries of a dictionary.

    Returns:
        Where each word starts and ends in the text.

    Raises:
        ArgumentError: A language without spaces, and no words are known.

    Example:
        >>> [text[start:end] for text in ["Don't go!"] for start, end in word_spans(text, "eng_Latn")]
        ["Don't", 'go']
        >>> word_spans("他买面包。", "zho_Hans", {"面包", "面", "买"})
        [(0, 1), (1, 2), (2, 4)]
    """
    if writes_spaces(language):
        return [found.span() for found in _WORD.finditer(text)]
    if known is None:
        raise ArgumentError(
            f"{language} is written without spaces between words, so words must be known to split it: pass "
            "known=, like the words of a dictionary"
        )
    return _longest(text, known if isinstance(known, set | frozenset | dict) else set(known))


def _longest(text: str, known: Collection[str]) -> list[Span]:
    """Return the longest known words from the left; they end where a whole sign ends, with its marks."""
    signs = [found.span() for found in _SIGN.finditer(text)]
    most = max(map(len, known), default=1)
    spans, place = [], 0
    while place < len(signs):
        start = signs[place][0]
        ends = [end for _, end in signs[place : place + most] if end - start <= most]
        end = next((one for one in reversed(ends) if text[start:one] in known), signs[place][1])
        if _WORD.match(text[start:end]):
            spans.append((start, end))
        while place < len(signs) and signs[place][0] < end:
            place += 1
    return spans
