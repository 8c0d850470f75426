"""Forwards of a module's class, and those that a library put on the object in their place."""

from collections.abc import Iterable
from functools import partial
from types import MethodType
from typing import Any

from torch import nn

# Their kernels read the weights of a module's parts, which are then never called: no hook sees anything.
_LIBRARIES = frozenset({"unsloth", "unsloth_zoo"})


class ClassForwards:
    """Takes fused forwards off modules, and puts them back.

    Unsloth puts a forward on each feed-forward network that computes gate, neurons and output from the
    weights alone. The forward of the class computes the same numbers, up to rounding, by calling its parts.

    Example:
        >>> forwards = ClassForwards()
        >>> forwards.use(model.modules())
        >>> _ = model(**batch)
        >>> forwards.put_back()
    """

    def __init__(self) -> None:
        self._kept: list[tuple[nn.Module, Any]] = []

    def use(self, modules: Iterable[nn.Module]) -> None:
        """Let some modules run the forward of their class, where they have a fused one."""
        for module in modules:
            if is_fused(vars(module).get("forward")):
                self._kept.append((module, vars(module)["forward"]))
                del vars(module)["forward"]

    def use_around(self, parts: Iterable[nn.Module], model: nn.Module) -> None:
        """Do so for the modules of a model that would have to call one of these parts."""
        wanted = set(parts)
        self.use(module for module in model.modules() if not wanted.isdisjoint(_inside(module)))

    def put_back(self) -> None:
        """Put the fused forwards back; as often as you like."""
        for module, forward in self._kept:
            vars(module)["forward"] = forward


def is_fused(forward: object) -> bool:
    """Return whether a function that was put on a module bypasses the modules within it."""
    function = getattr(forward, "__func__", forward)
    if isinstance(function, partial):
        function = function.func
    home = getattr(function, "__module__", None)
    return isinstance(home, str) and home.partition(".")[0] in _LIBRARIES


def _inside(module: nn.Module) -> Iterable[nn.Module]:
    """Return what is within a module that has a fused forward; nothing of another."""
    return module.modules() if is_fused(vars(module).get("forward")) else ()


def runs_its_class(module: nn.Module) -> bool:
    """Return whether a module runs the forward of its class: none is on it, or that very forward.

    transformers 4 leaves it on every module whose states were asked for.
    """
    of_class = MethodType(type(module).forward, module)
    return bool(vars(module).get("forward", of_class) == of_class)
