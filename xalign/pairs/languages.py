"""Language codes of parallel text; see `xalign.languages`."""

from xalign.languages import (
    language_name,
    match_language,
    match_languages,
    normalize_language,
    normalize_languages,
)

__all__ = [
    "language_name",
    "match_language",
    "match_languages",
    "normalize_language",
    "normalize_languages",
]
