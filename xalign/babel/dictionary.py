"""Babel's dictionaries: the content words of its lexicon, from English into its other languages."""

from xalign.babel.lexicon import LANGUAGES, Concept, load_lexicon
from xalign.pairs.dictionary import BilingualDictionary
from xalign.pairs.languages import match_languages

_PIVOT = "eng_Latn"


def babel_dictionary(language: str) -> BilingualDictionary:
    """Return English content words with their translations into a language of Babel, in lower case.

    Forms of a concept are matched by name: "bakes" with "backt". A word is an entry where both forms have one
    content word; "in the dining room" and "im Esszimmer" give none. Where a language tells apart what English
    does not, as Russian pasts do, there are several translations.

    Args:
        language: One of Babel's languages other than English, in any spelling.

    Raises:
        ArgumentError: Another language.

    Example:
        >>> dictionary = babel_dictionary("de")
        >>> dictionary.translations("baker"), dictionary.translations("bakes")
        (('bäcker',), ('backt',))
    """
    others = [code for code in LANGUAGES.values() if code != _PIVOT]
    there = f"a language that Babel has beside English; these are {', '.join(others)}"
    (code,) = match_languages("language", [language], others, there)
    content = load_lexicon().content_words()
    entries: dict[str, dict[str, None]] = {}
    for category in vars(load_lexicon()).values():
        for concept in category.values():
            for english, other in _forms(concept, code):
                word = [one for one in english.lower().split() if one in content[_PIVOT]]
                translation = [one for one in other.lower().split() if one in content[code]]
                if len(word) == len(translation) == 1:
                    entries.setdefault(word[0], {})[translation[0]] = None
    found = {word: tuple(translations) for word, translations in entries.items()}
    return BilingualDictionary(code, _PIVOT, found, source="babel")


def _forms(concept: Concept, code: str) -> list[tuple[str, str]]:
    """Return the forms of a concept that both languages have, as pairs of texts."""
    ours, theirs = concept.forms[_PIVOT], concept.forms[code]
    return [(ours[form], theirs[form]) for form in ours if form in theirs]
