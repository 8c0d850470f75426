"""The context in which the sentences of a language run, where they are steered."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from xalign.errors import ArgumentTypeError
from xalign.measurement.options import Steered


def entered(steered: Steered | None, language: str) -> AbstractContextManager[Any]:
    """Return the context manager in which a language runs; without a function, one that does nothing.

    Raises:
        ArgumentTypeError: The function gives no context.

    Example:
        >>> with entered(None, "deu_Latn"):
        ...     pass
    """
    if steered is None:
        return nullcontext()
    context = steered(language)
    if not hasattr(context, "__enter__") or not hasattr(context, "__exit__"):
        raise ArgumentTypeError(
            f"steered({language!r}) gave {context!r:.60}, and must give a context, like "
            "lambda code: steer(model, units[code])"
        )
    return context
