"""This project's optional packages: how to import them, and how to install them."""

import shlex
from functools import cache
from importlib import import_module
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from typing import Any

from xalign.errors import MissingExtraError

_PACKAGE = Path(__file__).parent
_DISTRIBUTION = "xalign-lm"


def install_command(*extras: str) -> str:
    """Return the `pip install` command for some extras of this project.

    From a checkout, the command is one that installs the checkout. Elsewhere it names the distribution, which
    is not `xalign`: that name on the public index belongs to another project.

    Example:
        >>> install_command("plot").startswith("pip install ")
        True
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    checkout = _PACKAGE.parent
    if _is_checkout(checkout):
        return f"pip install -e {shlex.quote(f'{checkout}{wanted}')}"
    return f"pip install {shlex.quote(f'{distribution_name()}{wanted}')}"


def import_extra(module: str, extra: str, need: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: The module, such as `matplotlib.figure`.
        extra: The extra of this project that installs it.
        need: What the error begins with, such as "figures need matplotlib".

    Raises:
        MissingExtraError: It is not installed; the error says how to install it.

    Example:
        >>> import_extra("math", "plot", "circles need math").pi > 3
        True
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(f"{need}: {install_command(extra)}") from None


def _is_checkout(folder: Path) -> bool:
    """Check for this project's own `pyproject.toml`; packages of others leave theirs beside it at times."""
    try:
        return "xalign.cli:main" in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def distribution_name() -> str:
    """Return the name that this package is installed under: a fork may have another than `xalign-lm`."""
    return _name_of(_PACKAGE)


@cache  # it reads what is installed, which takes a tenth of a second
def _name_of(package: Path) -> str:
    for name in packages_distributions().get(package.name, []):
        if Path(str(distribution(name).locate_file(package.name))).resolve() == package:
            return name
    return _DISTRIBUTION


def own_version() -> str:
    """Return the installed version of xalign.

    Example:
        >>> own_version().count(".")
        2
    """
    return version(distribution_name())
