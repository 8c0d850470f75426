"""What interventions read: the options of reading, and which of the texts are meant."""

from collections.abc import Iterable, Mapping, Sequence

from xalign.checks import known_options
from xalign.errors import ArgumentError
from xalign.pairs.languages import match_language

READING = ("pool_special_tokens", "truncate", "source_codes", "token_budget", "site_bytes")


def check_reading(function: str, given: Iterable[str]) -> None:
    """Raise an error where an intervention is given options of `activations` that are not for it."""
    known_options(function, given, READING)


def two_languages(texts: Mapping[str, Sequence[str]], language: str, pivot: str) -> tuple[str, str]:
    """Return the labels of the texts that two languages mean.

    Raises:
        ArgumentError: One that is not there, or the same twice.
    """
    found = []
    for name, code in (("language", language), ("pivot", pivot)):
        known = match_language(code, texts) if isinstance(code, str) else None
        if known is None:
            raise ArgumentError(f"{name}={code!r:.60} is not in texts, which has {', '.join(texts)}")
        found.append(known)
    if found[0] == found[1]:
        raise ArgumentError(f"language and pivot are both {language!r}; name two languages")
    return found[0], found[1]
