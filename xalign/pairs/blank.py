"""Which lines are blank, whatever invisible characters they hold."""

import regex

# Characters that Unicode calls neither spaces nor ignorable, and that are drawn as nothing all the same: the
# braille pattern without dots, the null notehead of music and the filler of the small Khitan script.
_DRAWN_AS_NOTHING = "\u2800\U0001d159\U00016fe4"
# Spaces, controls, marks of direction, soft hyphens, joiners, variation selectors, tags, Hangul fillers …
_BLANK = regex.compile(rf"[\p{{Z}}\p{{C}}\p{{Default_Ignorable_Code_Point}}{_DRAWN_AS_NOTHING}]*")


def is_blank(sentence: str) -> bool:
    r"""Check whether no character of a sentence can be seen.

    Example:
        >>> is_blank("\u200b\ufe0f \u3164"), is_blank("a\ufe0f")
        (True, False)
    """
    return _BLANK.fullmatch(sentence) is not None
