"""The errors xalign raises.

Each message names the argument, the value it had, what is allowed, and what to do next. Every class derives
from `XAlignError` and from the built-in error that a Python user would expect.
"""


class XAlignError(Exception):
    """Any error that xalign raises on purpose."""


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
