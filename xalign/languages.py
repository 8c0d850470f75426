"""Language codes, normalised to the form of FLORES-200: ISO 639-3 and ISO 15924 (`deu_Latn`)."""

import csv
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from xalign.errors import ArgumentError, ArgumentTypeError

# A region decides the script only for a language that is written in more than one.
_SCRIPT_OF_REGION = {"cn": "Hans", "sg": "Hans", "tw": "Hant", "hk": "Hant", "mo": "Hant"}


@cache
def _names() -> dict[str, str]:
    """Map each FLORES code to its English name."""
    return {row["code"]: row["name"] for row in _table()}


@cache
def _candidates() -> dict[str, list[str]]:
    """Map each bare language code of two or three letters to the FLORES codes it may mean."""
    named: dict[str, list[str]] = {}
    for row in _table():
        for alias in row["also"].split():
            named.setdefault(alias, []).append(row["code"])
    bare: dict[str, list[str]] = {}
    for row in _table():
        bare.setdefault(row["code"][:3], []).append(row["code"])
    return bare | named


@cache
def _table() -> tuple[dict[str, str], ...]:
    text = files("xalign").joinpath("languages.tsv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), delimiter="\t"))


# What may follow the language: a script, a region or a variant. So "deu-fra" is refused.
_SUBTAG = re.compile(r"[a-z]{4}|[a-z]{2}|[0-9]{3}|[a-z0-9]{5,8}", re.ASCII)


def normalize_language(code: str) -> str:
    """Convert a language code to the form `deu_Latn`.

    Args:
        code: ISO 639-1 or 639-3, alone or with a script or a region: `de`, `deu`, `de-DE`, `deu_Latn`,
            `zh-Hans`, `zh-CN`. Case does not matter.

    Returns:
        The code in FLORES-200 form. A code that already has this form is returned unchanged, even if its
        language is not in the table.

    Raises:
        ArgumentError: The code is unknown, or ambiguous (`zh` may mean `zho_Hans` or `zho_Hant`).
        ArgumentTypeError: The code is not a string.

    Example:
        >>> normalize_language("de"), normalize_language("zh-TW")
        ('deu_Latn', 'zho_Hant')
    """
    candidates = _meanings(code)
    if len(candidates) > 1:
        raise ArgumentError(f"language code {code!r} is ambiguous: choose one of {', '.join(candidates)}")
    return candidates[0]


def match_language(code: str, known: Iterable[str]) -> str | None:
    """Return which one of some languages a spelling means; None where it means none of them.

    A code without a script is ambiguous only where several of these languages have it.

    Args:
        code: A language code in any spelling, or any other label that is known.
        known: The languages to choose from, in FLORES-200 form; other labels are matched only as they are.

    Raises:
        ArgumentError: The code means several of them.

    Example:
        >>> match_language("zh", ["deu_Latn", "zho_Hans"]), match_language("fr", ["deu_Latn"])
        ('zho_Hans', None)
    """
    known = list(known)
    if code in known or not isinstance(code, str):
        return code if code in known else None
    bare = code.strip().lower()
    if re.fullmatch(r"[a-z]{2,3}", bare):
        candidates = _candidates().get(bare, [])
        languages = "|".join({bare, *(one[:3] for one in candidates)})
        of_language = re.compile(f"({languages})_[A-Z][a-z]{{3}}")
        found = [one for one in known if one in candidates] or list(filter(of_language.fullmatch, known))
    else:
        try:
            found = [one for one in known if one in _meanings(code)]
        except ArgumentError:
            found = []
    if len(found) > 1:
        raise ArgumentError(f"language code {code!r} is ambiguous: choose one of {', '.join(found)}")
    return found[0] if found else None


def meanings_of(code: str) -> list[str]:
    """Return the languages that a code, in any spelling, may mean; none if it is unknown.

    Example:
        >>> meanings_of("de-DE"), meanings_of("zh"), meanings_of("sentence")
        (['deu_Latn'], ['zho_Hans', 'zho_Hant'], [])
    """
    try:
        return list(_meanings(code))
    except ArgumentError:
        return []


def language_codes(code: str) -> list[str]:
    """Return all that a bare code of two or three letters may mean, one code per script; none if unknown.

    Example:
        >>> language_codes("zh"), language_codes("de"), language_codes("xx")
        (['zho_Hans', 'zho_Hant'], ['deu_Latn'], [])
    """
    return list(_candidates().get(code, []))


def spellings_of(language: str, codes: Iterable[str]) -> list[str]:
    """Return which of some codes, in any spelling, mean a language; the language itself if it is among them.

    A code without a script means each language that it may stand for.

    Args:
        language: A language in FLORES-200 form.
        codes: Codes to choose from, as a tokenizer spells them.

    Example:
        >>> spellings_of("deu_Latn", ["en_XX", "de_DE"]), spellings_of("zho_Hant", ["de", "zh"])
        (['de_DE'], ['zh'])
    """
    codes = list(codes)
    if language in codes:
        return [language]

    def means_it(code: str) -> bool:
        try:
            return language in _meanings(code)
        except ArgumentError:
            return False

    return list(filter(means_it, codes))


def match_languages(argument: str, codes: Iterable[str], known: Iterable[str], there: str) -> list[str]:
    """Return which of some languages a list of codes means.

    Args:
        argument: The name of the user's argument, for the error message.
        codes: Language codes in any spelling.
        known: The languages to choose from.
        there: What has these languages and which they are, for the error message.

    Raises:
        ArgumentError: A code is unknown, ambiguous or not among them, or two codes mean the same language.
        ArgumentTypeError: `codes` is not a list of strings.
    """
    codes, known = language_list(argument, codes), list(known)
    found = {number: match_language(code, known) for number, code in enumerate(codes)}
    missing = [
        normalize_language(code) for code, one in zip(codes, found.values(), strict=True) if one is None
    ]
    if missing:
        raise ArgumentError(f"{argument}={', '.join(missing)} not {there}")
    return _each_once(argument, codes, [one for one in found.values() if one is not None])


def _meanings(code: str) -> list[str]:
    """Return what a language code may mean: one language, or several where it is ambiguous."""
    if not isinstance(code, str):
        raise ArgumentTypeError(f"language code must be a string such as 'deu_Latn', not {code!r}")
    parts = re.split(r"[-_]", code.strip().lower())
    language, rest = parts[0], parts[1:]
    if not re.fullmatch(r"[a-z]{2,3}", language) or not all(map(_SUBTAG.fullmatch, rest)):
        raise ArgumentError(f"language code {code!r} is unknown; write it like 'deu_Latn', 'deu' or 'de'")
    candidates = _candidates().get(language, [])
    script = next((part.title() for part in rest if len(part) == 4 and part.isalpha()), None)
    if script is None and len(candidates) > 1:
        script = next((_SCRIPT_OF_REGION[part] for part in rest if part in _SCRIPT_OF_REGION), None)
    if script is not None:
        matching = [candidate for candidate in candidates if candidate.endswith(script)]
        if matching:
            return matching[:1]
        if script not in {name[4:] for name in _names()}:
            raise ArgumentError(
                f"language code {code!r} has an unknown script {script!r}; write it like 'deu_Latn'"
            )
        if candidates or len(language) == 3:
            return [f"{candidates[0][:3] if candidates else language}_{script}"]
    if not candidates:
        raise ArgumentError(
            f"language code {code!r} is unknown; if the language exists, give its ISO 639-3 code with its "
            "script, like 'xyz_Latn'"
        )
    return candidates


def normalize_languages(argument: str, codes: Iterable[str]) -> list[str]:
    """Convert a list of language codes to the form `deu_Latn`.

    Args:
        argument: The name of the user's argument, for the error message.
        codes: Language codes in any form that `normalize_language` takes.

    Raises:
        ArgumentError: A code is unknown or ambiguous, or two codes mean the same language.
        ArgumentTypeError: `codes` is not a list of strings.
    """
    codes = language_list(argument, codes)
    return _each_once(argument, codes, [normalize_language(code) for code in codes])


def language_list(argument: str, codes: Iterable[str]) -> list[str]:
    """Return language codes as they are written, or raise an error where they are no list."""
    if isinstance(codes, (str, bytes, set, frozenset)) or not isinstance(codes, Iterable):
        raise ArgumentTypeError(
            f"{argument} must be a list of language codes, like ['deu_Latn'], not {codes!r}"
        )
    return list(codes)


def _each_once(argument: str, codes: list[str], normal: list[str]) -> list[str]:
    repeated = sorted({code for code in normal if normal.count(code) > 1})
    if repeated:
        raise ArgumentError(f"{argument}={codes!r} names {', '.join(repeated)} more than once")
    return normal


def known_languages() -> list[str]:
    """Return the codes of all languages in the table, in FLORES-200 form.

    Example:
        >>> "deu_Latn" in known_languages()
        True
    """
    return list(_names())


def language_name(code: str) -> str:
    """Return the English name of a language, or the code itself if the table has no name for it."""
    return _names().get(code, code)


def named_with_code(code: str) -> str:
    """Return a language's English name with its code; the code alone if the table has no name for it.

    Example:
        >>> named_with_code("deu_Latn"), named_with_code("xyz_Latn")
        ('German (deu_Latn)', 'xyz_Latn')
    """
    name = language_name(code)
    return code if name == code else f"{name} ({code})"
