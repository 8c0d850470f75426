"""Letters, words and pieces of text in any script."""

import unicodedata
from functools import lru_cache

# Scripts that are written without spaces between words, by how Unicode names their letters.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_LEADING_VOWELS = "เแโใไເແໂໃໄ"  # stand before the consonant that they are spoken after


@lru_cache(maxsize=4096)
def is_letter(character: str) -> bool:
    """Return whether a character is a letter or a mark on one."""
    return unicodedata.category(character)[0] in "LM"


@lru_cache(maxsize=4096)
def is_unspaced(character: str) -> bool:
    """Return whether a character is of a script that is written without spaces."""
    return unicodedata.name(character, "").startswith(_UNSPACED)


def clusters(text: str) -> list[str]:
    """Split text into what a reader takes for one letter: a character with its marks.

    Example:
        >>> clusters("né"), clusters("हिंदी")
        (['n', 'é'], ['हिं', 'दी'])
    """
    found: list[str] = []
    joins = False
    for character in text:
        category = unicodedata.category(character)
        is_joined = joins or (found and (category[0] == "M" or category == "Cf"))
        if is_joined:
            found[-1] += character
        else:
            found.append(character)
        joins = category == "Cf" or character in _LEADING_VOWELS
    return found


def pieces(text: str, size: int) -> list[tuple[int, int]]:
    """Return where the words of a text start and end; of text without spaces, pieces of some letters.

    Args:
        text: The text. Spaces, digits and punctuation are in no piece, but apostrophes and hyphens within a
            word are.
        size: How many letters, with their marks, make a piece of a script without spaces.

    Example:
        >>> [text[a:b] for text in ("Wir gehen, ja?", "今天下雨。") for a, b in pieces(text, 2)]
        ['Wir', 'gehen', 'ja', '今天', '下雨']
    """
    found, start = [], 0
    while start < len(text):
        end = start + 1
        if text[start].isalpha():
            while end < len(text) and (is_letter(text[end]) or _joins(text, end)):
                end += 1
            found += _cut(text, start, end, size)
        start = end
    return found


def _joins(text: str, at: int) -> bool:
    """Return whether a character that is no letter stands within a word."""
    is_joiner = text[at] in "'’-" or unicodedata.category(text[at]) == "Cf"
    return is_joiner and text[at + 1 : at + 2].isalpha()


def _cut(text: str, start: int, end: int, size: int) -> list[tuple[int, int]]:
    """Cut a run of letters where its script has no spaces: into pieces, and the words of other scripts."""
    found: list[tuple[int, int]] = []
    held, was_unspaced = 0, False
    at = start
    for cluster in clusters(text[start:end]):
        now_unspaced = any(map(is_unspaced, cluster))
        is_new = not found or now_unspaced != was_unspaced or (now_unspaced and held == size)
        if is_new:
            found.append((at, at + len(cluster)))
            held = 1
        else:
            found[-1] = (found[-1][0], at + len(cluster))
            held += 1
        at, was_unspaced = at + len(cluster), now_unspaced
    return found
