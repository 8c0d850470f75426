"""The errors xalign raises.

Each message names the argument, the value it had, what is allowed, and what to do next. Every class derives
from `XAlignError` and from the built-in error that a Python user would expect.
"""

import re

# What acts on a terminal, hides or cannot be written: names in messages may come from files. Lines may end.
# Joiners and variation selectors are not here: Persian, Hindi and emoji are written with them.
_CONTROLS = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def show_controls(text: str) -> str:
    """Return a text in which characters that control a terminal are shown, but for the ends of lines."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class XAlignError(Exception):
    """Any error that xalign raises on purpose."""

    def __str__(self) -> str:
        """Return the message, in which control characters are shown and not obeyed."""
        return show_controls(super().__str__())


class ArgumentError(XAlignError, ValueError):
    """An argument has a value that is not allowed."""


class ArgumentTypeError(XAlignError, TypeError):
    """An argument has a type that is not allowed."""


class PairsError(XAlignError, ValueError):
    """Parallel text that cannot be used: unequal sides, empty lines, too few pairs or a broken file."""


class ModelError(XAlignError, ValueError):
    """A model in which a site cannot be found, does not fire, or gives values that are not finite."""


class ReportError(XAlignError, ValueError):
    """A saved result that cannot be read, written or compared."""


class UnitsError(XAlignError, ValueError):
    """Saved units or vectors that cannot be read, written or used on a model."""


class MissingExtraError(XAlignError, ImportError):
    """An optional package is needed but not installed. The message gives the `pip install` command."""
