"""`undo`: put things back whatever happens, also when the putting back is itself interrupted."""

from collections.abc import Callable

Steps = list[Callable[[], None]]


def undo(steps: Steps) -> None:
    """Call each step, and take it off the list once it has come to its end.

    A `KeyboardInterrupt` may come between any two lines. A step that it cut short is called again, so every
    step must allow to be called twice. Call `undo` in two nested `finally`: if the interrupt comes before the
    call in the first one, the second one still has the whole list.

    Args:
        steps: What to do, in this order. The list is empty afterwards.

    Raises:
        BaseException: The last error of a step, or the interrupt, after every step was called.

    Example:
        >>> def observed():
        ...     steps = [lambda: print("put back")]
        ...     try:
        ...         try:
        ...             print("look")
        ...         finally:
        ...             undo(steps)
        ...     finally:
        ...         undo(steps)
        >>> observed()
        look
        put back
    """
    failed: BaseException | None = None
    while steps:
        try:
            steps[0]()
            del steps[:1]
        except KeyboardInterrupt as error:
            failed = error
        except Exception as error:
            failed = error
            del steps[:1]
    if failed is not None:
        raise failed
