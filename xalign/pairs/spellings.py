"""Which names of a source are languages: of its columns, files or configs, in the spelling of the source."""

import re
from collections.abc import Iterable, Sequence

from xalign.errors import ArgumentError, PairsError
from xalign.languages import match_languages, meanings_of, normalize_language
from xalign.warn import warn


def chosen_spellings(
    spellings: Iterable[str], languages: Sequence[str] | None, pivot: str, place: str
) -> dict[str, str]:
    """Return language -> its name in a source: the pivot first, then the languages asked for.

    - A name without a script that may mean several languages (`zh`) means the one that is asked for.
    - The plain name of a language is preferred to one with a variant (`cat_Latn` to `cat_Latn_vale1252`). Of
      several variants without a plain name, one is taken only if it is asked for in this spelling.
    - Names that are no language are left out.

    Args:
        spellings: The names in the source.
        languages: The languages asked for, in any spelling, or in the source's own; None for all.
        pivot: Code of the pivot language.
        place: What error messages call the source.

    Raises:
        PairsError: The source has no language, or not the pivot.
        ArgumentError: A language is unknown or ambiguous, or the source does not have it.
    """
    names = list(dict.fromkeys(spellings))
    claims = _claims(names, _clear_codes([pivot, *(languages or ())]), languages, place)
    exact = (
        [] if languages is None or isinstance(languages, str) else [one for one in languages if one in names]
    )
    chosen = _one_each(claims, exact, languages, place)
    if pivot not in chosen:
        raise PairsError(f"{place} has no sentences of the pivot {pivot}; {_what_is_there(chosen, names)}")
    if languages is None:
        return {pivot: chosen[pivot], **chosen}
    there = f"found in {place}; {_what_is_there(chosen, names, pivot)}"
    wanted = match_languages("languages", languages, chosen, there)
    return {code: chosen[code] for code in dict.fromkeys([pivot, *wanted])}


def settled_language(spelling: str, asked: Iterable[str]) -> str:
    """Convert a code of a source to the form `deu_Latn`; what was asked for settles an ambiguous code.

    Args:
        spelling: The code in the source.
        asked: The languages that were asked for, in any spelling.

    Raises:
        ArgumentError: The code is unknown, or ambiguous and not settled by what was asked for.

    Example:
        >>> settled_language("zh", ["de", "zh-Hant"]), settled_language("fr", [])
        ('zho_Hant', 'fra_Latn')
    """
    meanings = meanings_of(spelling)
    settled = [one for one in meanings if one in _clear_codes(asked)]
    if len(meanings) > 1 and len(settled) == 1:
        return settled[0]
    try:
        return normalize_language(spelling)
    except ArgumentError as error:
        hint = f"; say which it is with languages={meanings[:1]}" if len(meanings) > 1 else ""
        raise ArgumentError(f"{error}{hint}") from None


def _clear_codes(codes: Iterable[str]) -> set[str]:
    """Return the languages that were asked for with a code that means one only."""
    found = (meanings_of(code) for code in codes if isinstance(code, str))
    return {meanings[0] for meanings in found if len(meanings) == 1}


def _claims(
    names: Sequence[str], asked: set[str], languages: Sequence[str] | None, place: str
) -> dict[str, list[str]]:
    """Return language -> the names that mean it."""
    claims: dict[str, list[str]] = {}
    for name in names:
        meanings = meanings_of(name)
        if (
            len(meanings) > 1
            and languages is not None
            and not asked & set(meanings)
            and name not in languages
        ):
            continue
        if meanings:
            try:
                claims.setdefault(settled_language(name, asked), []).append(name)
            except ArgumentError as error:
                raise PairsError(f"{place}: {error}") from None
    return claims


def _one_each(
    claims: dict[str, list[str]], exact: Sequence[str], languages: Sequence[str] | None, place: str
) -> dict[str, str]:
    """Return language -> one name; see `chosen_spellings`."""
    chosen, unsettled = dict[str, str](), dict[str, list[str]]()
    for code, names in claims.items():
        fewest = min(map(variants_of, names))
        plain = [name for name in names if variants_of(name) == fewest]
        named = [name for name in names if name in exact]
        best = named if len(named) == 1 else plain
        if len(best) == 1:
            chosen[code] = best[0]
        else:
            unsettled[code] = names
    wanted = {code for code in unsettled if languages is not None and code in _clear_codes(languages)}
    for code in sorted(wanted):
        listed = ", ".join(map(repr, unsettled[code]))
        raise PairsError(f"{place} has several of {code}: {listed}; name the one you mean in languages=")
    if unsettled and languages is None:
        listed = ", ".join(name for names in unsettled.values() for name in names)
        warn(f"{place} has several of {', '.join(unsettled)} ({listed}); name one in languages= to read it")
    return chosen


def variants_of(name: str) -> int:
    """Count the parts of a code that are neither its language nor its script, such as `BR` and `vale1252`.

    Example:
        >>> variants_of("por"), variants_of("zho_Hant"), variants_of("pt-BR")
        (0, 0, 1)
    """
    return sum(not re.fullmatch("[A-Za-z]{4}", part) for part in re.split("[-_]", name)[1:])


def _what_is_there(chosen: Iterable[str], names: Sequence[str], pivot: str | None = None) -> str:
    codes = [code for code in chosen if code != pivot]
    if codes:
        return f"it has {', '.join(codes)}" + (f" beside {pivot}" if pivot else "")
    return f"no name in it is a language: {', '.join(names[:30]) or 'it is empty'}"
