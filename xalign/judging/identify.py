"""Language identification: character n-grams and Bayes' rule, learnt from a few hundred sentences."""

import functools
import itertools
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.pairs.load import load_pairs

UNDETERMINED = "und"
_LONGEST = 4
_SMOOTHING = 0.5

Identify = Callable[[str], str]


class LanguageIdentifier:
    """Identify which of some languages a text is in.

    It is naive Bayes over the character n-grams (1 to 4) of the text's words. A text in a language that it
    has not learnt is given the likeliest of those that it has, or `"und"` if none of its n-grams was seen.

    Args:
        texts: Label -> sentences to learn from, at least two labels; a few hundred of each are enough.

    Attributes:
        labels: The languages that it has learnt.

    Example:
        >>> texts = {"deu_Latn": ["Es regnet nicht."], "eng_Latn": ["It is not raining."]}
        >>> identify = LanguageIdentifier(texts)
        >>> identify("Es schneit nicht."), identify("It is snowing."), identify("42!")
        ('deu_Latn', 'eng_Latn', 'und')
    """

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        check_texts(texts, least=2)
        self.labels = list(texts)
        counts = {label: Counter(_grams(" ".join(lines))) for label, lines in texts.items()}
        self._known = set[str]().union(*counts.values())
        self._unseen: dict[str, float] = {}
        self._seen: dict[str, dict[str, float]] = {}
        for label, found in counts.items():
            total = math.log(found.total() + _SMOOTHING * len(self._known))
            self._unseen[label] = math.log(_SMOOTHING) - total
            self._seen[label] = {gram: math.log(count + _SMOOTHING) - total for gram, count in found.items()}

    def __call__(self, text: str) -> str:
        """Return the label of the likeliest language, or `"und"`."""
        if not isinstance(text, str):
            raise ArgumentTypeError(f"text must be a string, not {text!r:.60}")
        grams = [gram for gram in _grams(text) if gram in self._known]
        if not grams:
            return UNDETERMINED
        likely = {
            label: math.fsum(seen.get(gram, self._unseen[label]) for gram in grams)
            for label, seen in self._seen.items()
        }
        return max(likely, key=likely.__getitem__)


def check_known(identify: Identify, labels: Sequence[str]) -> None:
    """Raise an error for labels that an identifier with `labels` does not have; functions are trusted."""
    identifier = _bundled() if identify is identify_language else identify
    known = getattr(identifier, "labels", None)
    unknown = [label for label in dict.fromkeys(labels) if known is not None and label not in known]
    if known is not None and unknown:
        raise ArgumentError(
            f"identify knows {', '.join(known)}, and not {', '.join(unknown)}: pass a LanguageIdentifier of "
            "texts in these languages, ManyLanguages, or any function from text to code"
        )


def identify_language(text: str) -> str:
    """Identify which of English, German, Spanish, Russian and Chinese a text is in.

    It has learnt from the 200 sentences of each that ship with xalign. For other languages make a
    `LanguageIdentifier` of your own text, or pass any function from text to code.

    Args:
        text: The text.

    Returns:
        The language's code, or `"und"` if nothing in the text is of these.

    Example:
        >>> identify_language("Guten Morgen, liebe Leute"), identify_language("Доброе утро")
        ('deu_Latn', 'rus_Cyrl')
    """
    return _bundled()(text)


@functools.cache
def _bundled() -> LanguageIdentifier:
    return LanguageIdentifier(load_pairs("bundled").texts)


def _grams(text: str) -> list[str]:
    """Return the n-grams of a text's words, each with a blank on either side, without digits and punctuation.

    Only words in the text's main script are taken, because names keep their Latin letters in a Chinese text.
    Scripts without capitals may have no blanks between words; there each letter counts as a word.
    """
    runs = [
        (script, "".join(signs))
        for script, signs in itertools.groupby(unicodedata.normalize("NFC", text).lower(), key=_script)
        if script
    ]
    if not runs:
        return []
    words = Counter[str]()
    for script, run in runs:
        words[script] += 1 if run.upper() != run else len(run)
    mostly = max(words, key=words.__getitem__)
    padded = [f" {run} " for script, run in runs if script == mostly]
    return [
        gram
        for word in padded
        for length in range(1, _LONGEST + 1)
        for start in range(len(word) - length + 1)
        if (gram := word[start : start + length]) != " "
    ]


def _script(sign: str) -> str:
    """Return the script of a letter, the first word of its Unicode name; empty for other signs."""
    name = unicodedata.name(sign, "")
    return name.split()[0] if name and unicodedata.category(sign)[0] in "LM" else ""
