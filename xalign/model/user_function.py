"""Errors inside a function that the user passed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xalign.errors import ArgumentError, XAlignError


@contextmanager
def errors_of(call: str) -> Iterator[None]:
    """Turn an error of a user's function into an `ArgumentError` that names the call; its cause is kept.

    An `XAlignError` is left as it is, and so is running out of memory, which callers handle.

    Example:
        >>> with errors_of("positions(tokens)"):
        ...     (lambda: True)(3)
        Traceback (most recent call last):
        ...
        xalign.errors.ArgumentError: positions(tokens) raised TypeError: ...
    """
    try:
        yield
    except (XAlignError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ArgumentError(f"{call} raised {type(error).__name__}: {error}") from error
