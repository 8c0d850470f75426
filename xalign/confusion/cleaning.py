"""What is compared of an answer: its lines, cleaned and long enough, and their words."""

import itertools
import string
import unicodedata
from collections.abc import Callable, Iterable

from xalign.checks import names

LEAST = 5
"""The fewest tokens of a line that is judged."""

_SHORTEST = 4  # of an English word that counts
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Scripts written without blanks between words, by the first word of a letter's Unicode name.
_NO_BLANKS = {
    *("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
}

Tokens = Callable[[str, str], list[str]]


def clean(text: str) -> str:
    r"""Return an answer in the form in which its lines are judged.

    Only what comes before a line with a new "Q:" is kept, without whitespace around it, and without ASCII
    punctuation and the Arabic comma; a dash becomes a space.

    Reference:
        Marchisio et al. (2024), Understanding and Mitigating Language Confusion in LLMs, and its code.

    Example:
        >>> clean(" It rains—again, today. \nQ: Does it?")
        'It rains again today'
    """
    return text.split("\nQ:")[0].strip().translate(_NO_PUNCTUATION).replace("—", " ").replace("،", "")


def word_tokens(line: str, language: str) -> list[str]:  # noqa: ARG001
    """Split a line at spaces, and text in scripts written without spaces into its characters.

    The paper splits Chinese with jieba and Japanese with fugashi, whose words are longer than a character:
    with these, fewer short lines are judged. Give `tokens=` to do the same.

    Args:
        line: The line.
        language: The wanted language; not used here, but given to every `tokens=`.

    Example:
        >>> word_tokens("Es regnet heute", "deu_Latn"), word_tokens("我用 Python", "zho_Hans")
        (['Es', 'regnet', 'heute'], ['我', '用', 'Python'])
    """
    found: list[str] = []
    for word in line.split():
        for alone, signs in itertools.groupby(word, key=_stands_alone):
            letters = list(signs)
            found += letters if alone else ["".join(letters)]
    return found


def _stands_alone(sign: str) -> bool:
    return unicodedata.name(sign, "").split(" ")[0] in _NO_BLANKS


def english_words(lines: Iterable[str]) -> frozenset[str]:
    """Return the entries of an English word list that count: in lower case, and longer than 3 characters.

    Args:
        lines: The entries, such as the lines of a file. The paper's list, which xalign does not ship, has
            81,995 that count.

    Example:
        >>> sorted(english_words(["the", "Paris", "machine", "learning "]))
        ['learning', 'machine']
    """
    entries = map(str.strip, names("lines", list(lines)))
    return frozenset(one for one in entries if one.islower() and len(one) >= _SHORTEST)
