"""What a function or a class of the user's own is: its code, and every value that it is bound to."""

import builtins
import dataclasses
import dis
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

from xalign.identity.library import library_of

Parts = Iterator[tuple[str, object]]
"""(what it is, value) of everything that makes up an object."""


class UnidentifiedError(Exception):
    """A value that cannot be told from others by its content; the text says which."""


# What these give is decided outside the function.
_OPEN_ENDED = {
    *("eval", "exec", "compile", "__import__", "open", "input"),
    *("globals", "locals", "vars", "breakpoint", "id", "hash"),
}
# Parts of a class that Python makes, or that say nothing of what it computes.
_MADE = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl", "__parameters__"),
    *("__orig_bases__", "__dataclass_fields__", "__dataclass_params__", "__annotate_func__"),
    *("_is_protocol", "__protocol_attrs__", "__non_callable_proto_members__", "__annotations_cache__"),
}


def parts_of_code(code: CodeType) -> Parts:
    """Yield what decides how code runs: neither its file nor its lines."""
    yield "bytecode", code.co_code
    yield "handlers", code.co_exceptiontable
    yield "names", (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    yield "signature", (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield "constants", code.co_consts


def parts_of_function(function: FunctionType) -> Parts:
    """Yield the code of a function, and the values of everything that the code reads beside its arguments."""
    yield "code", function.__code__
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"its variable {name}", cell.cell_contents
        except ValueError:
            yield f"its variable {name}", "not assigned"
    yield "attributes", {name: one for name, one in vars(function).items() if name != "__wrapped__"}
    if library_of(str(function.__globals__.get("__name__"))) is None:
        for name, attributes in sorted(set(_reads(function.__code__))):
            yield from _global(function, name, attributes)


def parts_of_class(cls: type) -> Parts:
    """Yield bases and members of a class."""
    yield "bases", cls.__bases__
    yield "metaclass", type(cls)
    for name, member in sorted(vars(cls).items()):
        code = getattr(member, "__code__", None)
        is_generated = name == "__init__" and code is not None and code.co_filename == "<string>"
        if name not in _MADE and not is_generated:
            yield f"its member {name}", member
    for one in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        yield "field", one.name
        for given in (one.default, one.default_factory):
            yield f"its default of {one.name}", None if given is dataclasses.MISSING else given


def _reads(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the global names that code reads, each with the attributes that are taken of it at once."""
    name, attributes = "", list[str]()
    for one in [*dis.get_instructions(code), None]:
        operation = "" if one is None else one.opname
        if one is not None and operation in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.append(str(one.argval))
            continue
        if name:
            yield name, tuple(attributes)
        is_global = operation == "LOAD_NAME" or ("GLOBAL" in operation and operation.startswith("LOAD"))
        name, attributes = (str(one.argval) if one is not None and is_global else ""), []
        if one is not None and operation == "IMPORT_NAME" and library_of(str(one.argval)) is None:
            raise UnidentifiedError(f"it imports {one.argval}, a module of your own")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _reads(constant)


def _global(function: FunctionType, name: str, attributes: tuple[str, ...]) -> Parts:
    """Yield the value of a global; of a module of the user's own, the value of what is taken from it."""
    if name not in function.__globals__:
        if name in _OPEN_ENDED:
            raise UnidentifiedError(f"it calls {name}, and what that gives is decided elsewhere")
        yield f"its name {name}", f"built in: {hasattr(builtins, name)}"
        return
    value, path = function.__globals__[name], name
    for attribute in attributes:
        if not isinstance(value, ModuleType) or library_of(value.__name__) is not None:
            break
        value, path = getattr(value, attribute), f"{path}.{attribute}"
    yield f"its global {path}", value
