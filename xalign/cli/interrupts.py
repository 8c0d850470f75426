"""What Ctrl-C does at each moment: it ends the command with code 130, and never with a traceback."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CODE = 130
_IMPORTING = "<frozen importlib._bootstrap>"


class _State:
    """Where the command stands."""

    working = False
    interrupted = False


def handle_interrupts() -> None:
    """Decide from now on what SIGINT does in this process.

    Before and after the work of a command nothing has to be tidied up, so the process ends at once. It also
    does so while a module is imported: an exception there could come out as another one, or as an abort in
    C++. While a command works, SIGINT raises `KeyboardInterrupt`, so that files are written whole or not at
    all. A process that was started to ignore SIGINT, such as one under `nohup`, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _interrupt_again


def ignore_interrupts() -> None:
    """Let SIGINT change nothing any more: the command is done, and its exit code stands.

    While Python ends, it would put the system's own handling back, and the process would be killed.
    """
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def working() -> Iterator[None]:
    """Mark the work of a command, in which SIGINT raises `KeyboardInterrupt`."""
    _State.interrupted, _State.working = False, True
    try:
        yield
    finally:
        _State.working = False


def was_interrupted() -> bool:
    """Return whether SIGINT came during the work, also where code in between swallowed the exception."""
    return _State.interrupted


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    if not _State.working or _is_importing(frame):
        os.write(2, b"xalign: interrupted\n")
        os._exit(CODE)
    _State.interrupted = True
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _interrupt_again(unraisable: Any) -> None:
    """Raise an interrupt again that came inside a destructor, from which Python lets no exception out."""
    if unraisable.exc_type is KeyboardInterrupt:
        # Not from here: an exception in this function would be lost as well.
        main = threading.main_thread().ident
        threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGINT]).start()
    else:
        sys.__unraisablehook__(unraisable)
