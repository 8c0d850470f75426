"""`Turn`: one thread at a time observes a model, and the forwards of other threads wait for it."""

import sys
import threading
import time

from torch import nn

from xalign.errors import ModelError
from xalign.model.wrapped import base_model_of

# The model inside all wrappers -> the thread that observes it.
_OBSERVERS: dict[nn.Module, int] = {}
_PAUSE = 0.002


class Turn:
    """The right of this thread to observe a model: to set its modes and to put its state back.

    Args:
        model: The model, wrapped or not.
    """

    def __init__(self, model: nn.Module) -> None:
        self.thread = threading.get_ident()
        self._inner = base_model_of(model)
        self._modules = set(model.modules())
        self.is_outermost = _OBSERVERS.get(self._inner) != self.thread

    def take(self) -> None:
        """Wait until no other thread observes the model."""
        while _OBSERVERS.setdefault(self._inner, self.thread) != self.thread:
            self._forget_ended()
            time.sleep(_PAUSE)

    def refuse_running(self) -> None:
        """Raise an error where another thread is within a forward of the model.

        Raises:
            ModelError: The name of that thread.
        """
        for thread, frame in sys._current_frames().items():
            while thread != self.thread and frame is not None and frame.f_code is not Turn.wait.__code__:
                if frame.f_code is _CALL and frame.f_locals.get("self") in self._modules:
                    names = {one.ident: one.name for one in threading.enumerate()}
                    raise ModelError(
                        f"thread {names.get(thread, thread)!r} is within a forward of this model, which "
                        "observing it would change; observe it in that thread, or between its forwards"
                    )
                frame = frame.f_back  # type: ignore[assignment]

    def wait(self, module: nn.Module | None = None) -> None:  # noqa: ARG002
        """In another thread: wait until this turn is over."""
        while _OBSERVERS.get(self._inner) == self.thread:
            self._forget_ended()
            time.sleep(_PAUSE)

    def give_back(self) -> None:
        """Let others observe the model; as often as you like."""
        if self.is_outermost and _OBSERVERS.get(self._inner) == self.thread:
            _OBSERVERS.pop(self._inner, None)

    def _forget_ended(self) -> None:
        """Free a model whose observer's thread has ended."""
        observer = _OBSERVERS.get(self._inner)
        if observer is not None and all(one.ident != observer for one in threading.enumerate()):
            _OBSERVERS.pop(self._inner, None)


_CALL = nn.Module._call_impl.__code__
