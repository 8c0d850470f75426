"""Skip a test that an older release of a library cannot run."""

from importlib.metadata import version

import pytest
from packaging.version import Version


def require(why: str, **least: str) -> None:
    """Skip the test, or the module, that calls this if a library is older than the release given for it.

    Example: `require("it has no interface of experts", transformers="5.0")`.
    """
    for library, release in least.items():
        if Version(version(library)) < Version(release):
            pytest.skip(f"{library} before {release}: {why}", allow_module_level=True)
