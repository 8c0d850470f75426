"""`ManyLanguages`: language identification for about 130 languages, by the library py3langid."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from xalign.checks import positive
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.extras import import_extra, install_command
from xalign.judging.identify import UNDETERMINED
from xalign.languages import language_codes, match_languages

_NO_LANGUAGE = "zxx"  # what py3langid calls text that is in none, such as code and tables
# Labels of py3langid that xalign's table of languages does not have.
_OWN = {
    "an": "arg_Latn",
    "bcl": "bcl_Latn",
    "ext": "ext_Latn",
    "gcf": "gcf_Latn",
    "gcr": "gcr_Latn",
    "gom": "gom_Deva",
    "gug": "gug_Latn",
    "guw": "guw_Latn",
    "hbo": "hbo_Hebr",
    "pcm": "pcm_Latn",
    "sdh": "sdh_Arab",
    "se": "sme_Latn",
    "uzs": "uzs_Arab",
    "vo": "vol_Latn",
    "wa": "wln_Latn",
    "wuu": "wuu_Hans",
}
_SCRIPTS = {"LATIN": "Latn", "CYRILLIC": "Cyrl", "ARABIC": "Arab"}


class ManyLanguages:
    """Identify which of about 130 languages a text is in, with the library py3langid (extra `langid`).

    Its weights are inside the package. A language that is written in two scripts has a code for each, and
    the letters tell which: Serbian by its script, Chinese by which characters it is written with.

    Args:
        languages: The languages to choose from, in any spelling; all that the library knows if None. Fewer
            are told apart better: a short line of one language may look like another, close one.
        confidence: A text is `"und"` where the library's probability is below this, in [0, 1].

    Attributes:
        labels: The codes that it can return, besides `"und"`.

    Raises:
        MissingExtraError: py3langid is not installed, or older than 0.4.
        ArgumentError: A language that the library does not know, or a confidence above 1.

    Reference:
        Lui and Baldwin (2012), langid.py: An Off-the-shelf Language Identification Tool; py3langid 0.4 by
        Barbaresi. The threshold is the one that Marchisio et al. (2024) use with fastText.

    Example:
        >>> identify = ManyLanguages()
        >>> identify("Es regnet heute nicht."), identify("今天不下雨，我们去公园吧。")
        ('deu_Latn', 'zho_Hans')
        >>> identify("今天不下雨，我們去學校吧。"), identify("12 / 34")
        ('zho_Hant', 'und')
    """

    def __init__(self, languages: Sequence[str] | None = None, *, confidence: float = 0.3) -> None:
        confidence = positive("confidence", confidence, zero=True)
        if confidence > 1:
            raise ArgumentError(f"confidence={confidence:g} is a probability, and at most 1")
        library = _library()
        self._library = library.LanguageIdentifier.from_model_file(
            library.MODEL_FILE, norm_probs=True, min_confidence=confidence
        )
        self._of_label = {label: codes for label in self._library.labels if (codes := _codes(label))}
        known = sorted({code for codes in self._of_label.values() for code in codes})
        there = f"among the {len(known)} languages of py3langid: {', '.join(known)}"
        self.labels = known if languages is None else match_languages("languages", languages, known, there)
        if languages is not None:
            wanted = set(self.labels)
            self._of_label = {
                label: [code for code in codes if code in wanted]
                for label, codes in self._of_label.items()
                if wanted & set(codes)
            }
            self._library.set_languages(list(self._of_label))

    def __call__(self, text: str) -> str:
        """Return the code of the likeliest language, or `"und"`."""
        if not isinstance(text, str):
            raise ArgumentTypeError(f"text must be a string, not {text!r:.60}")
        if not any(map(str.isalpha, text)):
            return UNDETERMINED
        codes = self._of_label.get(self._library.classify(text)[0], [])
        if len(codes) < 2:
            return codes[0] if codes else UNDETERMINED
        written = _script(text, {code[4:] for code in codes})
        return next((code for code in codes if code.endswith(written)), codes[0])


def _library() -> Any:
    """Return the module of py3langid.

    Raises:
        MissingExtraError: It is not installed, or too old.
    """
    langid = import_extra("py3langid", "langid", "identifying many languages needs py3langid").langid
    if not hasattr(langid.LanguageIdentifier, "from_model_file"):
        raise MissingExtraError(f"py3langid is older than 0.4: {install_command('langid')}")
    return langid


def _codes(label: str) -> list[str]:
    """Return the codes that a label of the library may mean, one for each script; none if no language."""
    if label == _NO_LANGUAGE:
        return []
    return [_OWN[label]] if label in _OWN else language_codes(label)


def _script(text: str, scripts: set[str]) -> str:
    """Return which of some scripts a text is written in; empty where none of them can be told."""
    if scripts == {"Hans", "Hant"}:
        simplified = sum(_can(sign, "gb2312") and not _can(sign, "big5") for sign in text)
        traditional = sum(_can(sign, "big5") and not _can(sign, "gb2312") for sign in text)
        return "Hant" if traditional > simplified else "Hans"
    letters = [unicodedata.name(sign, "").split(" ")[0] for sign in text if sign.isalpha()]
    counts = {script: letters.count(name) for name, script in _SCRIPTS.items() if script in scripts}
    return max(counts, key=counts.__getitem__) if any(counts.values()) else ""


def _can(sign: str, encoding: str) -> bool:
    """Tell whether an old encoding has a character: GB 2312 has simplified ones, Big5 traditional ones."""
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
