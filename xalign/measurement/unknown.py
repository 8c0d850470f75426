"""The warning of languages that a tokenizer does not know."""

from collections.abc import Mapping

from xalign.results.unknown import is_unknown
from xalign.warn import warn


def warn_of_unknown_languages(shares: Mapping[str, float], what: str = "scores") -> None:
    """Warn of languages most of whose tokens are unknown to the tokenizer.

    Args:
        shares: Language -> the share of its tokens that is unknown.
        what: What says nothing about these languages.

    Example:
        >>> warn_of_unknown_languages({"deu_Latn": 0.02})
    """
    unknown = {code: share for code, share in shares.items() if is_unknown(share)}
    if unknown:
        listed = ", ".join(f"{code} {share:.0%}" for code, share in unknown.items())
        warn(
            f"most tokens of some languages are unknown to this tokenizer: {listed}; their {what} say nothing"
        )
