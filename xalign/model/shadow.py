"""`Shadow`: stands in the place of a function of a module while something watches it, and for nobody else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from xalign.model.hooks import Owner, in_thread_of

# Takes what stood there before as its first argument.
Around = Callable[..., Any]
_LOCK = threading.Lock()


class StandIn:
    """Stands on a module for a while under the name of one of its functions; the numbers flow as before."""


class Shadow(StandIn):
    """Stands in a module under the name of one of its functions.

    It calls what was put around the function in this thread, and in other threads the function itself.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.was_own, self.original = name in vars(module), getattr(module, name)
        self.around: list[tuple[Owner, Around]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what was put there last, which may call the others."""
        return self._call([fn for owner, fn in self.around if in_thread_of(owner)], args, kwargs)

    def _call(self, around: list[Around], args: Any, kwargs: Any) -> Any:
        if not around:
            return self.original(*args, **kwargs)

        def lower(*args: Any, **kwargs: Any) -> Any:
            return self._call(around[:-1], args, kwargs)

        return around[-1](lower, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Look like what stands there otherwise."""
        if name.startswith("__") or name == "original":
            raise AttributeError(name)
        return getattr(self.original, name)


def put_shadow(module: nn.Module, name: str, owner: Owner, around: Around) -> None:
    """Put a function around one of a module, until `drop_shadows`."""
    with _LOCK:
        shadow = vars(module).get(name)
        if not isinstance(shadow, Shadow):
            shadow = Shadow(module, name)
            vars(module)[name] = shadow
        shadow.around.append((owner, around))


def drop_shadows(module: nn.Module, name: str, owner: Owner) -> None:
    """Take what an owner put around a function off it; the last one leaves the module as it was."""
    with _LOCK:
        shadow = vars(module).get(name)
        if not isinstance(shadow, Shadow):
            return
        shadow.around = [one for one in shadow.around if one[0] is not owner]
        if shadow.around:
            return
        if shadow.was_own:
            vars(module)[name] = shadow.original
        else:
            del vars(module)[name]


@contextmanager
def shadowed(module: nn.Module, name: str, around: Around) -> Iterator[None]:
    """Put a function around one of a module, in this thread, inside the `with`."""
    owner = _Here()
    try:
        put_shadow(module, name, owner, around)
        yield
    finally:
        drop_shadows(module, name, owner)


class _Here:
    """Owns what this thread does."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
