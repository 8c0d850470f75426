"""Skip a test that an older release of a library cannot run."""

from importlib.metadata import version

import pytest
from packaging.version import Version


def is_older(**least: str) -> list[str]:
    """Return which libraries are older than the release given for each."""
    return [library for library, release in least.items() if Version(version(library)) < Version(release)]


def require(why: str, **least: str) -> None:
    """Skip the test, or the module, that calls this if a library is older than the release given for it.

    Example: `require("it has no interface of experts", transformers="5.0")`.
    """
    for library in is_older(**least):
        pytest.skip(f"{library} before {least[library]}: {why}", allow_module_level=True)
