"""Typing errors: letters swapped, left out or doubled in one word of five."""

from collections.abc import Callable
from random import Random

from xalign.robustness.perturbations.perturbation import Given, Perturbation
from xalign.robustness.script import clusters, pieces

_SHORTEST = 4  # letters of a word that can have an error and still be read
_EVERY = 5  # words


def _swap(letters: list[str], at: int) -> list[str]:
    return [*letters[:at], letters[at + 1], letters[at], *letters[at + 2 :]]


def _omit(letters: list[str], at: int) -> list[str]:
    return [*letters[:at], *letters[at + 1 :]]


def _double(letters: list[str], at: int) -> list[str]:
    return [*letters[: at + 1], letters[at], *letters[at + 1 :]]


_ERRORS: tuple[Callable[[list[str], int], list[str]], ...] = (_swap, _omit, _double)


def add_typos(given: Given) -> str | None:
    """Make a typing error in one word of five, at least in one; None where no word has four letters.

    The first letter of a word stays. A letter moves with its marks, in any script. Text without spaces has
    an error in one of five pieces of four letters.

    Example:
        >>> import random
        >>> add_typos(Given("Yesterday nothing happened.", "eng_Latn", "", (), random.Random(1)))
        'Yesterdaay nothing happened.'
    """
    text = given.sentence
    spans = [span for span in pieces(text, _SHORTEST) if len(clusters(text[slice(*span)])) >= _SHORTEST]
    chosen = given.random.sample(spans, -(-len(spans) // _EVERY))
    for start, end in sorted(chosen, reverse=True):
        text = text[:start] + _with_error(clusters(text[start:end]), given.random) + text[end:]
    return None if text == given.sentence else text


def _with_error(letters: list[str], random: Random) -> str:
    error, at = random.choice(_ERRORS), random.randrange(1, len(letters) - 1)
    changed = error(letters, at)
    return "".join(_double(letters, at) if changed == letters else changed)  # two equal letters were swapped


TYPOS = Perturbation("typos", add_typos, keeps_meaning=True)
