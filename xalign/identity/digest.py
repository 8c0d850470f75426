"""`Digest`: a checksum of any value that is known by its content, and the refusal of all others."""

import dataclasses
import functools
import hashlib
import operator
import re
import struct
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xalign.identity.code import (
    Parts,
    UnidentifiedError,
    is_own,
    parts_of_class,
    parts_of_code,
    parts_of_function,
    refuse_open_ended,
)
from xalign.identity.library import library_of, name_in_library

# What Python keeps on every class of members, which the members say as well.
_OF_ENUM = {
    *("_member_names_", "_member_map_", "_value2member_map_", "_hashable_values_", "_unhashable_values_"),
    *("_unhashable_values_map_", "_member_type_", "_value_repr_", "_new_member_", "_use_args_", "__new__"),
    *("_flag_mask_", "_all_bits_", "_singles_mask_", "_boundary_", "_inverted_"),
    *("__module__", "__qualname__", "__doc__", "__annotations__", "__firstlineno__", "__static_attributes__"),
}
_MOST_VALUES = 2_000_000
# Homes of base classes that hold nothing themselves; None is the user's own code.
_STATELESS = (None, "abc", "typing")


class Digest:
    """Digests values by their content: the same in every process, and different for different content.

    Args:
        standing_for: Id of an object -> what it stands for.
    """

    def __init__(self, standing_for: Mapping[int, str]) -> None:
        self._standing_for = standing_for
        self._inside: list[object] = []
        self._path: list[str] = []
        self._left = _MOST_VALUES

    def of(self, value: object) -> bytes:
        """Return the digest of a value.

        Raises:
            UnidentifiedError: A value, or a part of it, that is not known by its content.
        """
        if id(value) in self._standing_for:
            return _hash("stands for", [self._standing_for[id(value)].encode()])
        plain = _PLAIN.get(type(value))
        if plain is not None:
            return _hash(type(value).__name__, [plain(value)])
        for depth, outer in enumerate(reversed(self._inside)):
            if outer is value:  # a function that calls itself, or a list that holds itself
                return _hash("again", [str(depth).encode()])
        self._left -= 1
        if self._left < 0:
            raise UnidentifiedError(f"it holds more than {_MOST_VALUES} values")
        self._inside.append(value)
        try:
            return self._of_parts(value)
        finally:
            self._inside.pop()

    def _of_parts(self, value: object) -> bytes:
        refuse_open_ended(value)
        library = name_in_library(value)
        if library is not None:
            # What a user has put in the place of methods of a library's class.
            members = vars(value).items() if isinstance(value, type) else ()
            own = {name: member for name, member in sorted(members) if is_own(member)}
            return _hash("library", [library.encode(), *([self.of(own)] if own else [])])
        parts = _parts_of(value)
        if parts is None:
            raise UnidentifiedError(self._reason(value))
        kind = type(value).__qualname__
        if isinstance(value, set | frozenset):
            return _hash(kind, sorted(self.of(one) for _, one in parts))
        digests = []
        for name, part in parts:
            self._path.append(name)
            digests += [name.encode("utf-8", "surrogatepass"), self.of(part)]
            self._path.pop()
        return _hash(kind, digests)

    def _reason(self, value: object) -> str:
        where = [name for name in self._path if name.startswith("its ")]
        a = "an" if type(value).__name__[0] in "AEIOUaeiou" else "a"
        return (
            f"{' of '.join(where[::-1]) or 'it'} is {a} {type(value).__name__}, which has no content to tell"
        )


def _hash(kind: str, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        digest.update(struct.pack("<q", len(part)) + part)
    return digest.digest()


def _text(value: Any) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


_PLAIN: dict[type, Callable[[Any], bytes]] = {
    **dict.fromkeys((type(None), type(...), type(NotImplemented), bool, int, str), _text),
    **dict.fromkeys((range, Decimal, Fraction, torch.dtype, torch.device, torch.Size), _text),
    **dict.fromkeys((bytes, bytearray), bytes),
    float: lambda value: struct.pack("<d", value),
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
}


def _numbered(values: Iterable[object]) -> Parts:
    return (("", value) for value in values)


def _items(value: Mapping[Any, Any]) -> Parts:
    """Yield the entries in their order, which a function may depend on."""
    for key, one in value.items():
        yield "", key
        yield f"its entry {key!r:.40}", one


def _parts_of_tensor(value: Tensor) -> Parts | None:
    if type(value) not in (Tensor, nn.Parameter) or value.layout != torch.strided or value.is_quantized:
        return None
    if value.device.type == "meta":
        return None
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    held = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    parts = (("dtype", value.dtype), ("shape", tuple(value.shape)), ("values", held))
    return iter((*parts, ("attributes", vars(value))))


def _parts_of_array(value: Any) -> Parts | None:
    if type(value) is not np.ndarray and not isinstance(value, np.generic) or value.dtype.hasobject:
        return None
    return iter((("dtype", str(value.dtype.descr)), ("shape", value.shape), ("values", value.tobytes())))


def _parts_of_object(value: object) -> Parts | None:
    """Yield the class and the attributes of an object of the user's own, or of any dataclass."""
    cls = type(value)
    if dataclasses.is_dataclass(value) and not any(map(_hides_content, cls.__mro__)):
        return iter((("class", cls), ("attributes", _fields_of(value))))
    if any(one is not object and not _is_stateless(one) for one in cls.__mro__):
        return None
    if cls.__getattribute__ is not object.__getattribute__:
        return None
    return iter((("class", cls), ("attributes", _attributes_of(value))))


def _is_stateless(cls: type) -> bool:
    return cls.__module__ == "collections.abc" or library_of(cls.__module__) in _STATELESS


def _hides_content(cls: type) -> bool:
    """Return whether a base class may hold what no attribute shows, as `dict` and `list` do."""
    if cls is object or _is_stateless(cls):
        return False
    return not any(isinstance(member, types.FunctionType) for member in vars(cls).values())


def _attributes_of(value: object) -> dict[str, object]:
    """Return all that an object holds. Slots are read through their class, since some have private names."""
    held = {}
    for cls in type(value).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType):
                with suppress(AttributeError):  # not set
                    held[f"{cls.__qualname__}.{name}"] = slot.__get__(value)
    return held | getattr(value, "__dict__", {})


def _fields_of(value: Any) -> dict[str, object]:
    ours = library_of(type(value).__module__) == "xalign"
    # What xalign's own objects leave out of a comparison, such as their origin, changes no number.
    fields = [one.name for one in dataclasses.fields(value) if one.compare or not ours]
    return {name: getattr(value, name) for name in fields} | ({} if ours else _attributes_of(value))


def _parts_of_enum(value: Enum) -> Parts:
    """Yield the attributes of a member, and all that its class defines, other members too."""
    cls = type(value)
    defined = {
        name: one for name, one in sorted(vars(cls).items()) if name not in _OF_ENUM | {*cls.__members__}
    }
    members = [(name, _own_of_member(one)) for name, one in cls.__members__.items()]
    return _numbered((cls.__qualname__, value.name, _own_of_member(value), cls.__bases__, members, defined))


def _own_of_member(value: Enum) -> dict[str, object]:
    return {name: one for name, one in vars(value).items() if name not in ("__objclass__", "_sort_order_")}


def _unknown(_: object) -> None:
    return None


def _parts_of_ufunc(value: np.ufunc) -> Parts | None:
    """Yield where a package has the function under its name; one of `np.frompyfunc` is nowhere."""
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), value.__name__, None) is value:
            return iter((("library", library_of(module)), ("name", value.__name__)))
    return None


def _parts_of_builtin(value: Any) -> Parts:
    owner = value.__self__
    of = owner.__name__ if isinstance(owner, types.ModuleType | type) else owner
    return iter((("name", value.__name__), ("its object", of)))


_PARTS: list[tuple[Any, Callable[[Any], Parts | None]]] = [
    (types.FunctionType, parts_of_function),
    (types.CodeType, parts_of_code),
    (
        functools.partial,
        lambda one: iter((("function", one.func), ("its arguments", (one.args, one.keywords)))),
    ),
    (types.MethodType, lambda one: iter((("method", one.__func__), ("its object", one.__self__)))),
    (types.BuiltinFunctionType, _parts_of_builtin),
    (
        (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType),
        lambda one: iter((("name", one.__name__), ("class", one.__objclass__))),
    ),
    ((types.MemberDescriptorType, types.GetSetDescriptorType), lambda one: iter((("name", one.__name__),))),
    (property, lambda one: _numbered((one.fget, one.fset, one.fdel))),
    ((staticmethod, classmethod), lambda one: _numbered((one.__func__,))),
    (functools.cached_property, lambda one: _numbered((one.func,))),
    (functools._lru_cache_wrapper, lambda one: _numbered((one.__wrapped__,))),
    (
        (operator.itemgetter, operator.attrgetter, operator.methodcaller),
        lambda one: _numbered(one.__reduce__()),
    ),
    (np.ufunc, _parts_of_ufunc),
    (re.Pattern, lambda one: _numbered((one.pattern, one.flags))),
    (PurePath, lambda one: _numbered((str(one),))),
    (slice, lambda one: _numbered((one.start, one.stop, one.step))),
    (Enum, _parts_of_enum),
    (Tensor, _parts_of_tensor),
    ((np.ndarray, np.generic), _parts_of_array),
    (types.ModuleType, lambda one: None if library_of(one.__name__) is None else _numbered((one.__name__,))),
    (nn.Module, _unknown),
    (type, parts_of_class),
]
_TAKE_SUBCLASSES = (Enum, Tensor, (np.ndarray, np.generic), nn.Module, type)
_CONTAINERS: dict[type, Callable[[Any], Parts]] = {
    **dict.fromkeys((list, tuple, set, frozenset), _numbered),
    **dict.fromkeys((dict, OrderedDict, Counter, types.MappingProxyType), _items),
    deque: lambda one: iter((("length", one.maxlen), ("entries", list(one)))),
    defaultdict: lambda one: iter((("factory", one.default_factory), ("entries", dict(one)))),
}


def _parts_of(value: object) -> Parts | None:
    """Return what makes up a value, or None where that is not known."""
    if type(value) in _CONTAINERS:
        return _CONTAINERS[type(value)](value)
    for kinds, parts_of in _PARTS:
        if isinstance(value, kinds):
            # A subclass of one's own may do anything else.
            is_plain = kinds in _TAKE_SUBCLASSES or library_of(type(value).__module__) is not None
            return parts_of(value) if is_plain else None
    return _parts_of_object(value)
