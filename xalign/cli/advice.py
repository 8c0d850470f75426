"""Errors advise arguments of Python; here they become options of the command that was typed."""

import re
from collections.abc import Iterable

# A value: a list of names in quotes, one in quotes, a number, or a word like True; or nothing.
_LIST, _QUOTED, _WORD = r"\[[^\]]*\]|\{[^}]*\}", r"""'[^']*'|"[^"]*\"""", r"[\w.+-]*\w"


def as_typed(text: str, options: Iterable[str]) -> str:
    """Return a message in which arguments that it advises are spelled as in a shell.

    An argument at the beginning is what was given, and stays as it is.

    Args:
        text: The message.
        options: The names of the command's options, as Python spells them.

    Example:
        >>> as_typed("cut with truncate=True, or take metrics=['mexa', 'margin']", ["truncate", "metrics"])
        'cut with --truncate, or take --metrics mexa,margin'
    """
    names = "|".join(sorted(options, key=len, reverse=True))
    if not names:
        return text
    found = re.compile(rf"(?<=[\s(`])({names})=({_LIST}|{_QUOTED}|{_WORD})?")
    return found.sub(lambda one: _typed(one[0], one[1], one[2] or ""), text)


def _typed(whole: str, name: str, value: str) -> str:
    option = name.replace("_", "-")
    if value in ("True", ""):
        return f"--{option}"
    if value in ("False", "None"):  # which no option says
        return whole
    value = re.sub(r"""(['"]): \1""", "=", value)  # of a dict
    parts = re.findall(r"""['"]([^'"]*)['"]""", value)
    plain = ",".join(parts) if parts else value
    return f"--{option} {plain}" if re.fullmatch(r"[\w,.+=-]+", plain) else whole
