"""`hooks_aside`: let a model run without the hooks that its user has put on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any

from torch import nn

from xalign.model.hooks import Hook
from xalign.model.undo import Steps, undo

_KINDS = ("_forward_pre_hooks", "_forward_hooks")
# Without the hooks of these, a model would not run: they gather, load and compute weights.
_LIBRARIES = frozenset(
    {
        "torch",
        "transformers",
        "accelerate",
        "peft",
        "bitsandbytes",
        "deepspeed",
        "sentence_transformers",
        "xalign",
    }
)


def is_of_user(hook: Callable[..., Any]) -> bool:
    """Return whether a hook is a function of the user's own, and not of a library that runs models."""
    while isinstance(hook, partial):
        hook = hook.func
    if isinstance(hook, MethodType):
        hook = type(hook.__self__)
    elif not hasattr(hook, "__qualname__"):
        hook = type(hook)
    return str(getattr(hook, "__module__", "")).partition(".")[0] not in _LIBRARIES


def has_own_hooks(model: nn.Module) -> bool:
    """Return whether a model carries hooks of its user."""
    return any(map(is_of_user, _hooks(model)))


def has_hooks_of_xalign(model: nn.Module) -> bool:
    """Return whether a model is being steered, visited or observed."""
    return any(isinstance(hook, Hook) for hook in _hooks(model))


def _hooks(model: nn.Module) -> Iterator[Callable[..., Any]]:
    for module in model.modules():
        for held in _held(module):
            yield from held.values()


@contextmanager
def hooks_aside(model: nn.Module) -> Iterator[None]:
    """Take the hooks of the user off a model. Afterwards they are where they were, in their order.

    Args:
        model: The model.
    """
    steps: Steps = []
    try:
        try:
            for held in [one for module in model.modules() for one in _held(module)]:
                _take_off(held, steps)
            yield
        finally:
            undo(steps)
    finally:
        undo(steps)


def _held(module: nn.Module) -> list[dict[int, Any]]:
    return [vars(module)[kind] for kind in _KINDS if vars(module).get(kind)]


def _take_off(held: dict[int, Any], steps: Steps) -> None:
    own = [key for key, hook in held.items() if is_of_user(hook)]
    if own:
        steps.append(partial(_put_back, held, list(held.items())))
    for key in own:
        del held[key]


def _put_back(held: dict[int, Any], before: list[tuple[int, Any]]) -> None:
    known = dict(before)
    added = [(key, hook) for key, hook in held.items() if key not in known]
    held.clear()
    held.update([*before, *added])
