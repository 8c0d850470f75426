"""The opposite: a verb is negated, or its negation is taken away."""

import csv
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from xalign.robustness.perturbations.perturbation import Given, Perturbation
from xalign.robustness.script import is_letter


class _Form(NamedTuple):
    """A verb, and what stands in its place in the opposite sentence."""

    plain: str
    negated: str
    is_inside: bool  # it may stand within a run of letters
    not_after: str  # characters of which none may stand before the plain form


Found = tuple[int, str, str]  # where, what stands there, what replaces it


def negate(given: Given) -> str | None:
    """Negate a sentence, or take its negation away, by a list of words; None where it has none of them.

    The list (`negation.tsv`) has common verbs of 28 languages with their negations. If a sentence holds a
    negated one, the first negation is removed; otherwise one of its plain verbs is negated. The result is not
    always idiomatic, because the negation stands where the verb stood.

    Example:
        >>> import random
        >>> def of(text, language):
        ...     return negate(Given(text, language, "", (), random.Random(0)))
        >>> of("It is cold.", "eng_Latn"), of("Es ist nicht kalt.", "deu_Latn")
        ('It is not cold.', 'Es ist kalt.')
    """
    text, forms = given.sentence, _forms().get(given.language, ())
    negated = [
        (at, one.negated, one.plain) for one in forms for at in _places(text, one.negated, one.is_inside)
    ]
    if negated:
        return _replaced(text, min(negated, key=lambda found: (found[0], -len(found[1]))))
    plain: dict[int, Found] = {}
    for one in sorted(forms, key=lambda one: len(one.plain)):  # of two at one place, the longer one
        for at in _places(text, one.plain, one.is_inside, one.not_after):
            plain[at] = (at, one.plain, one.negated)
    return _replaced(text, given.random.choice(sorted(plain.values()))) if plain else None


def _places(text: str, form: str, is_inside: bool, not_after: str = "") -> list[int]:
    """Return where a form stands as a word of its own; anywhere where words are not told by spaces."""
    found = []
    for match in re.finditer(re.escape(form), text):
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        if before and before in not_after:
            continue
        if is_inside or not any(one and (is_letter(one) or one.isdigit()) for one in (before, after)):
            found.append(match.start())
    return found


def _replaced(text: str, found: Found) -> str:
    at, form, other = found
    return text[:at] + other + text[at + len(form) :]


@cache
def _forms() -> dict[str, tuple[_Form, ...]]:
    """Return language -> its forms."""
    text = files("xalign.robustness.perturbations").joinpath("negation.tsv").read_text(encoding="utf-8")
    found: dict[str, tuple[_Form, ...]] = {}
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        form = _Form(row["plain"], row["negated"], row["where"] == "inside", row["not_after"])
        found[row["language"]] = (*found.get(row["language"], ()), form)
    return found


NEGATION = Perturbation("negation", negate, keeps_meaning=False)
