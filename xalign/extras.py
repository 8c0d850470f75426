"""How to install this project's optional packages: by the name it has here, or from its checkout."""

import shlex
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

_PACKAGE = Path(__file__).parent


def install_command(*extras: str) -> str:
    """Return the `pip install` command for some extras of this project.

    The name `xalign` on the public index belongs to another project. From a checkout, the command is
    therefore one that installs the checkout. Elsewhere it names the installed distribution, which pip then
    does not look for on the index.

    Example:
        >>> install_command("plot").startswith("pip install ")
        True
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    checkout = _PACKAGE.parent
    if _is_checkout(checkout):
        return f"pip install -e {shlex.quote(f'{checkout}{wanted}')}"
    return f"pip install {shlex.quote(f'{distribution_name()}{wanted}')}"


def _is_checkout(folder: Path) -> bool:
    """Check for this project's own `pyproject.toml`; packages of others leave theirs beside it at times."""
    try:
        return "xalign.cli:main" in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def distribution_name() -> str:
    """Return the name that this package is installed under."""
    for name in packages_distributions().get(_PACKAGE.name, []):
        if Path(str(distribution(name).locate_file(_PACKAGE.name))).resolve() == _PACKAGE:
            return name
    return _PACKAGE.name
