"""Warnings that point at the user's line."""

import sys
import warnings
from types import FrameType

# contextlib stands between a `with` and what runs at its end, and importlib between an import and a module.
_BETWEEN = {__name__.partition(".")[0], "contextlib", "importlib"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside xalign that led here: the user's, or that of the trainer that calls xalign.

    Python shows this line with the warning, and shows a `DeprecationWarning` only where the line is in the
    user's own script. Frames are told by their module and not by their file, because the `__init__` of a
    dataclass has no file.

    Args:
        message: What is wrong, and what to do.
        category: The class of the warning.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     warn("one language has only 2 sentences")
        >>> print(caught[0].message)
        one language has only 2 sentences
    """
    frame = sys._getframe()
    while frame.f_back is not None and _module_of(frame).partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    warnings.warn_explicit(  # not by a `stacklevel`: Python leaves out some frames when it counts
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=_module_of(frame),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "<string>"))
