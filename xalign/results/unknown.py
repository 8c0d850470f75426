"""Languages that a tokenizer does not know: their scores say nothing, however high they are."""

MOST_UNKNOWN = 0.5  # share of tokens


def is_unknown(share: float) -> bool:
    """Return whether most tokens of a language are the unknown token, so that its scores say nothing.

    Example:
        >>> is_unknown(0.66), is_unknown(0.02)
        (True, False)
    """
    return share > MOST_UNKNOWN


def with_unknown(language: str, share: float, between: str = ", ") -> str:
    """Return a language with the share of its tokens that is unknown, if that is most of them.

    Example:
        >>> with_unknown("zho_Hans", 0.66), with_unknown("deu_Latn", 0.02)
        ('zho_Hans, unknown 66 %', 'deu_Latn')
    """
    return f"{language}{between}unknown {100 * share:.0f} %" if is_unknown(share) else language
