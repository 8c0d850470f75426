"""`record_of`: a function as reports and histories hold it, and which two of these records agree."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from xalign.identity.code import UnidentifiedError
from xalign.identity.digest import Digest
from xalign.identity.named import Named
from xalign.warn import warn

_UNIDENTIFIED = "unidentified:"
_TOKEN = re.compile(rf"^{_UNIDENTIFIED}[0-9a-f]{{32}}")
# 0.1.0 wrote a function as module and name.
_NAME_ONLY = re.compile(r"[\w<>]+(\.[\w<>]+)+")
_SHARED_NAMES = ("<lambda>", "<locals>", "functools.partial")


def record_of(function: Callable[..., Any], standing_for: Mapping[int, str] | None = None) -> str:
    """Return what a report holds of a function: a name, or a digest of its code and its bound values.

    The digest covers the bytecode, constants, defaults, the values in its closure, the arguments of a
    `partial`, the object that a method is bound to, and the global variables and functions of your own that
    it reads. What is installed, such as `torch.sigmoid`, counts by name and version. The digest is the same
    in every process of one Python version. What a function reads from files, the network or the environment
    when it is called is not in it. Nor is what it reaches by names that are put together when it is called
    (`getattr(function, "__glo" + "bals__")`), through functions of installed packages that look up your own
    code, or from the names of functions and classes (`own.__name__`). Functions and classes of your own that
    you set in an installed package, and plain values in its modules, count where the code names them. Plain
    values that you set in its classes or as defaults, other objects that you set in it, and modules that the
    code gets as arguments or in containers do not. Nor does it count whether two equal values are one object.

    Code that uses `eval`, `import_module`, `sys.modules`, `__globals__`, frames, `builtins` or `__doc__`
    cannot be identified, because these reach values that the digest does not hold.

    A function that holds something else, such as an open file, cannot be identified. Its record then differs
    from every other one, so that nothing is compared with it. `Named` gives it a name.

    Args:
        function: The function.
        standing_for: Id of an object -> what it stands for, such as the model that is measured. Such an
            object counts as that, whatever it is.

    Example:
        >>> record_of(lambda text, language: text).endswith("of <lambda>")
        True
    """
    if isinstance(function, Named):
        return f"name:{function.name}"
    name = _name_of(function)
    try:
        return f"sha256:{Digest(standing_for or {}).of(function).hex()} of {name}"
    except UnidentifiedError as error:
        why = str(error)
    except Exception as error:  # an object of the user's that does not let itself be looked at
        why = f"{type(error).__name__} while it was looked at"
    return f"{_UNIDENTIFIED}{uuid4().hex} of {name}: {why}"


def is_identified(record: object) -> bool:
    """Return whether a record says what a function is.

    Example:
        >>> is_identified("name:mine"), is_identified("unidentified:" + "0" * 32 + " of f: it holds a file")
        (True, False)
    """
    return not str(record).startswith(_UNIDENTIFIED)


def agree(one: object, other: object) -> bool:
    """Return whether two recorded settings are known to be the same.

    Files of 0.1.0 tell functions by their names only. Names that several functions have, like `<lambda>`, say
    nothing; other names are taken, with a warning.

    Example:
        >>> agree("query: {text}", "query: {text}"), agree("my_module.<lambda>", "my_module.<lambda>")
        (True, False)
    """
    if (one or None) != (other or None):  # 0.1.0 wrote an empty list where nothing was subtracted
        return False
    if not isinstance(one, str) or not _NAME_ONLY.fullmatch(one):
        return True
    if any(shared in one for shared in _SHARED_NAMES):
        return False
    warn(
        f"the function {one} is told by its name only, as version 0.1.0 wrote it; make sure that it was the "
        "same"
    )
    return True


def across_processes(record: object) -> object:
    """Return a recorded setting without what differs between processes that were given the same function.

    Processes that measure together run the same program, so a function that cannot be identified is told by
    its name there.

    Example:
        >>> across_processes("unidentified:" + "0" * 32 + " of f: it holds a file")
        'unidentified: of f: it holds a file'
    """
    if isinstance(record, Mapping):
        return {name: across_processes(one) for name, one in record.items()}
    return _TOKEN.sub(_UNIDENTIFIED, record) if isinstance(record, str) else record


def advice(*records: object) -> str:
    """Return what to do about settings that do not agree; empty where they are not functions.

    Example:
        >>> advice("weighted", "last")
        ''
    """
    found = [one for one in records if isinstance(one, str)]
    if any(one.startswith(_UNIDENTIFIED) for one in found):
        return (
            ". A function that holds such a value is told from no other: give it a name that stands for it, "
            "Named(function, name='...') of xalign.identity"
        )
    if any(one.startswith("sha256:") for one in found):
        return (
            ". The digest covers code, bound values and globals, and differs between versions of Python; if "
            "the function is the same all the same, give it a name, Named(function, name='...') of "
            "xalign.identity"
        )
    if any(_NAME_ONLY.fullmatch(one) for one in found):
        return (
            ". Version 0.1.0 wrote a function's name only, which does not tell it from others; measure again"
        )
    return ""


def _name_of(function: object) -> str:
    if isinstance(function, partial):
        return f"partial of {_name_of(function.func)}"
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__
