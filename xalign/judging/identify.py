"""Which language a text is in: character n-grams and Bayes' rule, learnt from the bundled sentences."""

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
    """Tells in which of some languages a text is.

    Naive Bayes over the character n-grams (1 to 4) of its words. It knows no other languages: what is in one
    of those gets the likeliest of its own, or `"und"` where nothing of it was ever seen.

    Args:
        texts: Label -> sentences to learn from, at least two labels; a few hundred of each will do.

    Attributes:
        labels: The languages it knows.

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
        """The label of the likeliest language, or `"und"`."""
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
    """An error where a label is none of the languages that an identifier of ours knows."""
    identifier = _bundled() if identify is identify_language else identify
    known = identifier.labels if isinstance(identifier, LanguageIdentifier) else None
    unknown = [label for label in labels if known is not None and label not in known]
    if known is not None and unknown:
        raise ArgumentError(
            f"identify knows {', '.join(known)}, and not {', '.join(unknown)}: pass a LanguageIdentifier of "
            "texts in these languages, or any function from text to code"
        )


def identify_language(text: str) -> str:
    """Which of English, German, Spanish, Russian and Chinese a text is in.

    Learnt from the 200 sentences of each that ship with xalign. For other languages build a
    `LanguageIdentifier` from text of yours, or pass any function from text to code.

    Returns:
        Its code, or `"und"` where nothing in it is of these.

    Example:
        >>> identify_language("Guten Morgen, liebe Leute"), identify_language("Доброе утро")
        ('deu_Latn', 'rus_Cyrl')
    """
    return _bundled()(text)


@functools.cache
def _bundled() -> LanguageIdentifier:
    return LanguageIdentifier(load_pairs("bundled").texts)


def _grams(text: str) -> list[str]:
    """The n-grams of a text's words, with a blank on either side; digits and punctuation are left out.

    Only the words in the script that most are written in: names keep their Latin letters in a Chinese text.
    Scripts without capitals need not have blanks between words, and there each sign counts as one.
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
    """The script of a letter, as its Unicode name begins; nothing for other signs."""
    name = unicodedata.name(sign, "")
    return name.split()[0] if name and unicodedata.category(sign)[0] in "LM" else ""
