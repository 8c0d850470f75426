"""Other names: a name in a sentence is replaced by one from another sentence."""

import re
from functools import lru_cache

from xalign.robustness.perturbations.perturbation import Given, Perturbation

# These write every noun with a capital letter, which then tells no name.
_CAPITAL_NOUNS = ("deu_", "ltz_", "gsw_", "bar_", "ksh_", "nds_")
_SHORTEST = 3
_WORD = re.compile(r"[^\W\d_][^\W\d_'’-]*(?:['’-][^\W\d_]+)*")
_OPENING = re.compile(r"(?:^|[.!?…:;¿¡\"“”„«»‚‘(\[—–/-])[\s'’]*$")


def swap_names(given: Given) -> str | None:
    """Replace a name by one from another sentence of the same side; None if there is none.

    Names are recognised by capital letters within a sentence, so they are found only in scripts that have
    these: Latin, Cyrillic, Greek, Armenian. In German, where all nouns are capitalised, a name must also
    occur in the translation.

    Example:
        >>> import random
        >>> others = (("He met Anna in Rome.", "…"), ("Then Peter left.", "…"))
        >>> swap_names(Given("Then Peter left.", "eng_Latn", "…", others, random.Random(0)))
        'Then Rome left.'
    """
    only_shared = given.language.startswith(_CAPITAL_NOUNS)
    own = names_in(given.sentence, given.translation if only_shared else None)
    known = [name for name in _all_names(given.others, only_shared) if name not in given.sentence]
    if not own or not known:
        return None
    old, new = given.random.choice(own), given.random.choice(known)
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, given.sentence)


def names_in(sentence: str, translation: str | None = None) -> list[str]:
    """Return the names of a sentence, each once: runs of words with a capital letter, but not where it opens.

    Args:
        sentence: The sentence.
        translation: A text in which all words of a name must occur, too; None if capital letters suffice.

    Example:
        >>> names_in("Yesterday Ana Lima met the BBC.")
        ['Ana Lima', 'BBC']
        >>> names_in("Der Hund biss Peter.", "The dog bit Peter.")
        ['Peter']
    """
    runs: list[list[str]] = []
    end = -1
    for match in _WORD.finditer(sentence):
        word, before = match.group(), sentence[: match.start()]
        is_name = word[0].isupper() and len(word) >= _SHORTEST and not _OPENING.search(before)
        if is_name and (translation is None or re.search(rf"(?<!\w){re.escape(word)}(?!\w)", translation)):
            if runs and sentence[end : match.start()] == " ":
                runs[-1].append(word)
            else:
                runs.append([word])
            end = match.end()
    return list(dict.fromkeys(" ".join(run) for run in runs))


@lru_cache(maxsize=32)
def _all_names(others: tuple[tuple[str, str], ...], only_shared: bool) -> tuple[str, ...]:
    """Return the names of all sentences of a side, sorted, each once."""
    found = {
        name
        for sentence, translation in others
        for name in names_in(sentence, translation if only_shared else None)
    }
    return tuple(sorted(found))


ENTITIES = Perturbation("entities", swap_names, keeps_meaning=False)
