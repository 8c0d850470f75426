"""What is installed, and therefore told by its name: the standard library, xalign, and other packages."""

import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType

# Reports hold the versions of these already, and scores of different versions may be compared.
_NOTED = {"xalign", "torch", "transformers", "numpy"}
_INSTALLED = {"site-packages", "dist-packages"}


_INTERACTIVE = ("<stdin>", "<ipython-input", "<doctest")


def library_of(module: str) -> str | None:
    """Return the package of a module with its version, or None for code of the user's own.

    A package that is installed from a checkout (`pip install -e`) is the user's own: its code may change
    without its version. So is a module beside a script that has the name of a standard one.

    Example:
        >>> library_of("math"), library_of("torch.nn"), library_of("__main__")
        ('math', 'torch', None)
    """
    top = module.partition(".")[0]
    if top in _NOTED:
        return top
    found = sys.modules.get(top) or sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if found is None and top in sys.stdlib_module_names:
        with suppress(ValueError):
            spec = importlib.util.find_spec(top)
            file = spec.origin if spec is not None and spec.has_location else None
    return _library_at(top, file)


@cache
def _library_at(top: str, file: str | None) -> str | None:
    if top in sys.stdlib_module_names:
        return top if file is None or _is_standard(file) else None
    if file is None or not _INSTALLED & set(Path(file).parts):
        return None
    distributions = importlib.metadata.packages_distributions().get(top, [])
    return " ".join([top, *(importlib.metadata.version(one) for one in distributions)])


@cache
def _is_standard(file: str) -> bool:
    homes = (Path(os.__file__).parent, sysconfig.get_path("platstdlib"), Path(sys.base_exec_prefix, "DLLs"))
    path = Path(file).resolve()
    is_inside = any(path.is_relative_to(Path(home).resolve()) for home in homes)
    return is_inside and not _INSTALLED & set(path.parts)


@cache
def _is_of_library(file: str) -> bool:
    """Return whether code from this file may be a library's: a user may have put own code in its place."""
    if file.startswith("<"):
        return not file.startswith(_INTERACTIVE)
    homes = [Path(str(sys.modules[top].__file__)).parent for top in _NOTED if top in sys.modules]
    is_noted = any(Path(file).is_relative_to(home) for home in homes)
    return is_noted or bool(_INSTALLED & set(Path(file).parts)) or _is_standard(file)


def is_replaced(value: object) -> bool:
    """Return whether a function runs code from elsewhere than a library, whatever it says of itself."""
    return isinstance(value, FunctionType) and not _is_of_library(value.__code__.co_filename)


def name_in_library(value: object) -> str | None:
    """Return package, module and name of a function or class that an installed package defines at its top."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if is_replaced(value):
        return None
    library = library_of(module)
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{library}: {module}.{name}" if library is not None and found is value else None
