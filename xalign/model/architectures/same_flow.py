"""`flow_of`: what decides how numbers flow in a model, so that a map is kept only as long as it holds."""

import weakref
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import MethodType, ModuleType, NoneType, SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from xalign.model.architectures.aside import is_of_user
from xalign.model.architectures.resident import is_resident
from xalign.model.class_forwards import is_fused, runs_its_class
from xalign.model.hooks import Hook
from xalign.model.shadow import StandIn

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
            if name not in _OF_TORCH and not isinstance(value, StandIn) and not is_fused(value)
        )
        hooks = tuple(
            self._value(hook, 0)
            for name in _HOOKS
            for hook in vars(module)[name].values()
            if not isinstance(hook, Hook) and not is_of_user(hook)
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
        held = _settings_in(value)
        if held is not None:
            if id(value) not in self._known:
                self._known[id(value)] = _Same(value)  # of one that holds itself
                self._known[id(value)] = _Same(value), self._all(held.items(), depth)
            return self._known[id(value)]
        return _Same(value)

    def _all(self, values: Iterable[Any], depth: int) -> Hashable:
        return tuple(self._value(one, depth + 1) for one in values)


class _OwnOnly(Exception):  # noqa: N818
    """Something in a model that may be of this model alone."""


def common_flow_of(model: nn.Module) -> Hashable | None:
    """Return what two models have in common whose forwards take the same path; None where it cannot be told.

    It can be told of models whose modules are all of transformers or torch, with settings of plain values.
    """
    describe = _CommonDescriber()
    try:
        modules = tuple(
            (path, _library_class(module), type(module).forward, describe.module(module))
            for path, module in model.named_modules()
        )
    except _OwnOnly:
        return None
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if not all(is_resident(tensor) for _, tensor in tensors):
        return None
    return modules, tuple((path, one.shape, one.dtype, one.device) for path, one in tensors)


_LIBRARIES = frozenset({"torch", "transformers"})


def _is_of_library(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] in _LIBRARIES


def is_of_libraries(model: nn.Module) -> bool:
    """Return whether the forwards of all modules are those of transformers and torch."""
    return has_library_classes(model) and all(map(runs_its_class, model.modules()))


def has_library_classes(model: nn.Module) -> bool:
    """Return whether all modules are of transformers' and torch's classes, whatever was put on them."""
    try:
        return all(bool(_library_class(module)) for module in model.modules())
    except _OwnOnly:
        return False


def _library_class(module: nn.Module) -> type[nn.Module]:
    kind = type(module)
    if not _is_of_library(kind) or not _is_of_library(kind.forward) or "<locals>" in kind.__qualname__:
        raise _OwnOnly
    return kind


class _CommonDescriber(_Describer):
    """Describes settings by their values alone."""

    def module(self, module: nn.Module) -> Hashable:
        own, hooks = cast(tuple[Hashable, Hashable], super().module(module))
        if hooks:
            raise _OwnOnly
        return own

    def _value(self, value: Any, depth: int) -> Hashable:
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, float):
            return repr(value)
        if depth > 2 * _DEEPEST:
            raise _OwnOnly
        if isinstance(value, Tensor):
            return type(value), value.shape, value.dtype
        if isinstance(value, Mapping):
            return type(value), self._all(value.items(), depth)
        if isinstance(value, tuple | list):
            return type(value), self._all(value, depth)
        if isinstance(value, set | frozenset):
            return type(value), tuple(sorted(map(repr, value)))
        if _is_of_library(type(value)) and hasattr(value, "to_dict"):
            return type(value), self._all(vars(value).items(), depth)
        if _is_of_library(value) and "<locals>" not in getattr(value, "__qualname__", "<locals>"):
            owner = getattr(value, "__self__", None)  # of a function that is built in, its module
            return value if owner is None or isinstance(owner, ModuleType) else self._refuse()
        return self._refuse()

    def _refuse(self) -> Hashable:
        raise _OwnOnly


def _settings_in(value: Any) -> Mapping[str, Any] | None:
    """Return what an object of settings holds; None of other objects."""
    is_one = is_dataclass(value) and not isinstance(value, type)
    if hasattr(value, "__dict__"):
        is_one = is_one or isinstance(value, SimpleNamespace) or hasattr(value, "to_dict")
        return vars(value) if is_one else None
    return {one.name: getattr(value, one.name, None) for one in fields(value)} if is_one else None  # of slots
