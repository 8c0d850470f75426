"""What is installed, and therefore told by its name: the standard library, xalign, and other packages."""

import importlib.metadata
import sys
from functools import cache
from pathlib import Path

# Reports hold the versions of these already, and scores of different versions may be compared.
_NOTED = {"xalign", "torch", "transformers", "numpy"}
_INSTALLED = {"site-packages", "dist-packages"}


@cache
def library_of(module: str) -> str | None:
    """Return the package of a module with its version, or None for code of the user's own.

    A package that is installed from a checkout (`pip install -e`) is the user's own: its code may change
    without its version.

    Example:
        >>> library_of("math"), library_of("torch.nn"), library_of("__main__")
        ('math', 'torch', None)
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in _NOTED:
        return top
    file = getattr(sys.modules.get(top) or sys.modules.get(module), "__file__", None)
    if file is None or not _INSTALLED & set(Path(file).parts):
        return None
    distributions = importlib.metadata.packages_distributions().get(top, [])
    return " ".join([top, *(importlib.metadata.version(one) for one in distributions)])


def name_in_library(value: object) -> str | None:
    """Return package, module and name of a function or class that an installed package defines at its top."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    library = library_of(module)
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{library}: {module}.{name}" if library is not None and found is value else None
