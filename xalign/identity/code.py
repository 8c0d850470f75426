"""What a function or a class of the user's own is: its code, and every value that it is bound to."""

import builtins
import dataclasses
import dis
import sys
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType

from xalign.identity.library import is_replaced, library_of

Parts = Iterator[tuple[str, object]]
"""(what it is, value) of everything that makes up an object."""


class UnidentifiedError(Exception):
    """A value that cannot be told from others by its content; the text says which."""


# What these give is decided outside the function.
_OPEN_ENDED = {
    *("eval", "exec", "compile", "__import__", "open", "input"),
    *("globals", "locals", "vars", "breakpoint", "id", "hash"),
}
# Names that lead to the variables of other code, or to what no digest holds.
_LEAD_ELSEWHERE = {
    *("__globals__", "__builtins__", "builtins", "__import__", "import_module", "__subclasses__"),
    *("f_globals", "f_locals", "f_builtins", "f_back", "_getframe", "currentframe", "tb_frame", "gi_frame"),
    *("get_objects", "get_referrers", "__doc__", "__annotations__"),
}
_HOMES = {"builtins", "io", "_io", "sys", "gc", "inspect", "importlib"}
_LEAD_ELSEWHERE_TOGETHER = (("sys", "modules"), ("inspect", "stack"))
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
    bound = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    attributes = vars(function).items()
    # What a decorator has put there is in its closure as well.
    yield (
        "attributes",
        {k: one for k, one in attributes if k != "__wrapped__" or all(one is not o for o in bound)},
    )
    if library_of(str(function.__globals__.get("__name__"))) is None:
        reads = sorted(set(_reads(function.__code__)))
        for name, taken in reads:
            yield from _global(function, name, taken)
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        found = [*bound, *defaults, *(_value_of(function, name, taken)[0] for name, taken in reads)]
        yield from _patched([*found, *_imported(function.__code__)], _names(function.__code__))


def parts_of_class(cls: type) -> Parts:
    """Yield bases and members of a class."""
    yield "bases", cls.__bases__
    yield "metaclass", type(cls)
    for name, member in sorted(vars(cls).items()):
        if name not in _MADE and not _is_generated(cls, name, member):
            yield f"its member {name}", member
    for one in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        yield "field", one.name
        for given in (one.default, one.default_factory):
            yield f"its default of {one.name}", None if given is dataclasses.MISSING else given


def _is_generated(cls: type, name: str, member: object) -> bool:
    """Return whether `dataclass` wrote this `__init__`: the fields, which are digested, say all of it."""
    if name != "__init__" or not dataclasses.is_dataclass(cls) or not isinstance(member, FunctionType):
        return False
    return member.__code__.co_qualname == "__create_fn__.<locals>.__init__"


def refuse_open_ended(value: object) -> None:
    """Refuse such a function under any name that it was given, and the module that has them all.

    Raises:
        UnidentifiedError: It is one of them.
    """
    is_function = isinstance(value, FunctionType | BuiltinFunctionType)
    name = value.__name__ if isinstance(value, FunctionType | BuiltinFunctionType | ModuleType) else ""
    is_one = is_function and name in _OPEN_ENDED | _LEAD_ELSEWHERE and value.__module__ in _HOMES
    if is_one or value is builtins or value is sys.modules:
        raise UnidentifiedError(f"it uses {name or 'sys.modules'}, and what that gives is decided elsewhere")


def _refuse_names(code: CodeType) -> None:
    """Refuse code whose names show that it reaches what is not among its own globals and bound values."""
    # The body of a class stores its `__doc__` and loads its `__annotations__` by such a NAME.
    used = {one.argval for one in dis.get_instructions(code) if one.opname not in ("STORE_NAME", "LOAD_NAME")}
    for name in sorted(_LEAD_ELSEWHERE & {one for one in used if isinstance(one, str)}):
        raise UnidentifiedError(f"it uses {name}, and what that gives is decided elsewhere")
    for module, name in _LEAD_ELSEWHERE_TOGETHER:
        if {module, name} <= {*code.co_names}:
            raise UnidentifiedError(f"it uses {module}.{name}, and what that gives is decided elsewhere")


def _reads(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the global names that code reads, each with the attributes that are taken of it at once."""
    _refuse_names(code)
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
        built_in = getattr(builtins, name, None)
        own = is_own(built_in) or library_of(str(getattr(built_in, "__module__", "builtins"))) is None
        yield f"its name {name}", built_in if own else f"built in: {hasattr(builtins, name)}"
        return
    value, path, attributes = _value_of(function, name, attributes)
    if value is sys and "modules" in attributes:
        raise UnidentifiedError("it uses sys.modules, and what that gives is decided elsewhere")
    yield f"its global {path}", value


def _value_of(
    function: FunctionType, name: str, attributes: tuple[str, ...]
) -> tuple[object, str, tuple[str, ...]]:
    """Return the value of a global or of what code takes from a module of one's own, its path, the rest."""
    value, path = function.__globals__.get(name), name
    for place, attribute in enumerate(attributes):
        if not isinstance(value, ModuleType) or library_of(value.__name__) is not None:
            return value, path, attributes[place:]
        value, path = getattr(value, attribute), f"{path}.{attribute}"
    return value, path, ()


def _patched(values: Iterable[object], names: set[str]) -> Parts:
    """Yield what a user may have set in modules of libraries: own functions, own classes, plain values.

    Code can reach a module under any name, so each of its names is looked for in each module.
    """
    left = [value for value in values if isinstance(value, ModuleType)]
    found: dict[str, object] = {}
    seen: set[int] = set()
    while left:
        module = left.pop()
        if id(module) in seen or library_of(module.__name__) is None:
            continue
        seen.add(id(module))
        for name in names & vars(module).keys():
            value = vars(module)[name]
            if isinstance(value, ModuleType):
                left.append(value)
            elif is_own(value) or has_own(value) or type(value) in (bool, int, float, str, bytes):
                found[f"its global {module.__name__}.{name}"] = value
    yield from sorted(found.items(), key=lambda one: one[0])


def is_own(value: object) -> bool:
    """Return whether a value is a function or a class of the user's own."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if not isinstance(value, FunctionType | type):
        return False
    return library_of(str(value.__module__)) is None or is_replaced(value)


def has_own(value: object) -> bool:
    """Return whether a user has put a function or a class of their own into a class."""
    return isinstance(value, type) and any(map(is_own, vars(value).values()))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> set[str]:
    return {name for one in _codes(code) for name in one.co_names}


def _imported(code: CodeType) -> Iterator[object]:
    """Yield the modules that code imports when it runs, as far as they are loaded."""
    for name in _names(code):
        yield sys.modules.get(name)
        yield sys.modules.get(name.partition(".")[0])
