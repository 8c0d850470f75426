"""`part_of`: something of a framework, which is imported when it is needed and not before."""

from importlib import import_module
from typing import Any

from xalign.errors import MissingExtraError

# Names a YAML file with a section `xalign`, for frameworks whose own files cannot have one.
VARIABLE = "XALIGN_CONFIG"


def part_of(framework: str, module: str, name: str) -> Any:
    """Return a class or function of a framework.

    Args:
        framework: The name by which pip installs it.
        module: Where it is.
        name: What it is called there.

    Raises:
        MissingExtraError: The framework is not installed, cannot be imported, or has no such part.

    Example:
        >>> part_of("torch", "torch.nn", "Linear").__name__
        'Linear'
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(
            f"this needs {module}.{name}, of {framework}, and it cannot be had: {error}. "
            f"Without {framework}: pip install {framework}"
        ) from error
