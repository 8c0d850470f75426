"""`flow_of`: what decides how numbers flow in a model, so that a map is kept only as long as it holds."""

import weakref
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import MethodType, NoneType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from xalign.model.hooks import Hook
from xalign.model.shadow import Shadow

_PLAIN = (bool, int, str, bytes, NoneType, Enum, torch.dtype, torch.device)
_DEEPEST = 4
# What torch keeps on every module. Of these, hooks may change what a module gives.
_OF_TORCH = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def flow_of(model: nn.Module) -> Hashable:
    """Return something that differs when the forward of a model may take another path than before.

    That is the modules themselves, their functions, settings, hooks and configs, and the data types of the
    weights. The values of weights do not count, nor training modes.
    """
    describe = _Describer()
    modules = tuple(
        (path, _Same(module), _Same(type(module).forward), describe.module(module))
        for path, module in model.named_modules()
    )
    return modules, frozenset(parameter.dtype for parameter in model.parameters())


class _Same:
    """Equal to what stands for the very same object, which it does not keep alive."""

    __slots__ = ("_id", "_of")

    def __init__(self, value: object) -> None:
        self._id = id(value)
        try:
            self._of: weakref.ref[Any] | None = weakref.ref(value)
        except TypeError:  # an object that cannot be pointed to
            self._of = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or self._id != other._id:
            return False
        if self._of is None or other._of is None:
            return self._of is other._of
        return self._of() is not None and self._of() is other._of()

    def __hash__(self) -> int:
        return hash(self._id)


class _Describer:
    """Describes the settings of modules, each object once."""

    def __init__(self) -> None:
        self._known: dict[int, Hashable] = {}

    def module(self, module: nn.Module) -> Hashable:
        own = tuple(
            (name, self._value(value, 0))
            for name, value in vars(module).items()
            if name not in _OF_TORCH and not isinstance(value, Shadow)
        )
        hooks = tuple(
            self._value(hook, 0)
            for name in _HOOKS
            for hook in vars(module)[name].values()
            if not isinstance(hook, Hook)
        )
        return own, hooks

    def _value(self, value: Any, depth: int) -> Hashable:
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, float):
            return repr(value)  # NaN equals itself here
        if isinstance(value, Tensor) or depth == _DEEPEST:
            return (type(value),)
        if isinstance(value, MethodType):
            return _Same(value.__func__), _Same(value.__self__)
        if isinstance(value, Mapping):
            return type(value), self._all(value.items(), depth)
        if isinstance(value, tuple | list):
            return type(value), self._all(value, depth)
        if isinstance(value, SimpleNamespace) or hasattr(value, "to_dict") or _is_of_dataclass(value):
            if id(value) not in self._known:
                self._known[id(value)] = _Same(value)  # of one that holds itself
                self._known[id(value)] = _Same(value), self._all(vars(value).items(), depth)
            return self._known[id(value)]
        return _Same(value)

    def _all(self, values: Iterable[Any], depth: int) -> Hashable:
        return tuple(self._value(one, depth + 1) for one in values)


def _is_of_dataclass(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__")
