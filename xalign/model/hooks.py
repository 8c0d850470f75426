"""`Hook`: a hook that knows whose it is, so that it can be found again and taken off.

Only this file registers hooks.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_KINDS = ("_forward_pre_hooks", "_forward_hooks")
_MARKS = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


class Owner(Protocol):
    """What registers hooks."""

    @property
    def thread(self) -> int:
        """The thread in which they act."""


class Hook:
    """A hook of an owner, which acts only in the thread that its owner was made in.

    Other threads may run the same model at the same time: for them it does nothing.

    Args:
        owner: What it belongs to; `remove_hooks` finds it by this.
        fn: What torch would have called.
        elsewhere: Called with the module in other threads.
    """

    def __init__(
        self, owner: Owner, fn: Callable[..., Any], elsewhere: Callable[[nn.Module], None] | None = None
    ) -> None:
        self.owner, self._fn, self._elsewhere = owner, fn, elsewhere

    def __call__(self, module: nn.Module, *given: Any) -> Any:
        """Do what the hook does. Another thread may call it with an argument less, while it is registered."""
        if in_thread_of(self.owner):
            return self._fn(module, *given)
        if self._elsewhere is not None:
            self._elsewhere(module)
        return None


def in_thread_of(owner: Owner) -> bool:
    """Return whether this is the owner's thread, or one of torch's own in which a backward recomputes."""
    here = threading.get_ident()
    if here == owner.thread:
        return True
    in_backward = torch._C._current_graph_task_id() != -1
    return in_backward and all(thread.ident != here for thread in threading.enumerate())


def hook_input(module: nn.Module, hook: Hook, *, first: bool = False) -> None:
    """Let a hook see, and replace, what a module is given.

    Args:
        module: The module.
        hook: Called with the module, its positional and its named arguments.
        first: Whether it comes before the hooks that the module has.
    """
    module.register_forward_pre_hook(hook, prepend=first, with_kwargs=True)


def hook_output(module: nn.Module, hook: Hook, *, always: bool = False) -> None:
    """Let a hook see, and replace, what a module returns.

    Args:
        module: The module.
        hook: Called with the module, its positional arguments, and its output.
        always: Whether it is also called when the module ends with an exception, then without an output.
    """
    module.register_forward_hook(hook, always_call=always)


def when_backward_reaches(values: Tensor, fn: Callable[[], None]) -> None:
    """Call a function each time that a backward reaches a tensor, before it goes on below it."""
    if values.requires_grad:
        values.register_hook(lambda gradient: fn())  # type: ignore[no-untyped-call]  # noqa: ARG005


def hooks_of(modules: Iterable[nn.Module]) -> set[Hook]:
    """Return the hooks of xalign on some modules."""
    return {
        hook
        for module in modules
        for kind in _KINDS
        for hook in list(vars(module).get(kind, {}).values())
        if isinstance(hook, Hook)
    }


def remove_hooks(modules: Iterable[nn.Module], unwanted: Callable[[Hook], bool]) -> None:
    """Take hooks of xalign off modules.

    They are looked for where torch keeps them: the handle of a hook whose registration was interrupted was
    never returned.

    Args:
        modules: Where to look.
        unwanted: Which to take off.
    """
    for module in modules:
        held = vars(module)
        if not any(held.get(kind) for kind in _KINDS):
            continue
        hooks = [item for kind in _KINDS for item in list(held[kind].items())]
        for key in [key for key, hook in hooks if isinstance(hook, Hook) and unwanted(hook)]:
            # The hook last: it is found again where Ctrl-C comes between two of these.
            for kind in _MARKS + _KINDS:
                held[kind].pop(key, None)
