"""One format on disk: a JSON file beside one safetensors file that it names, written whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from torch import Tensor

from xalign.errors import ArgumentTypeError, XAlignError

T = TypeVar("T")
# What a file that was cut, edited or never ours can raise while it is read.
_BROKEN = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError),
    safetensors.SafetensorError,
)


def save_folder(
    folder: Path,
    name: str,
    content: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    schema_version: int,
    error: type[XAlignError],
) -> Path:
    """Write tensors under a name made from their content, then the JSON that names them, each in one step.

    What an interruption leaves is what was there before, or the new files.

    Args:
        folder: Where; see `writable_folder`.
        name: Of the JSON file.
        content: What the JSON holds beside `kind`, `schema_version` and the checksums.
        tensors: Name -> tensor.
        kind: What is saved, such as `xalign.UnitSet`.
        schema_version: Of the content.
        error: What to raise where JSON cannot hold the content.

    Raises:
        XAlignError: Of the given class; then nothing was written.
    """
    data = safetensors.torch.save({key: values.contiguous() for key, values in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    values = {"file": f"values-{digest[:12]}.safetensors", "sha256": digest}
    body = {"schema_version": schema_version, "kind": kind, **content, "values": values}
    try:
        text = json.dumps(body | {"sha256": _digest(body)}, ensure_ascii=False, indent=1, allow_nan=False)
        encoded = text.encode()
    except (TypeError, ValueError) as reason:
        raise error(f"{kind}: its provenance holds what JSON cannot: {reason}; nothing was written") from None
    replaced = _values_file(folder / name)
    write_whole(folder / values["file"], data)
    write_whole(folder / name, encoded)
    # Only what this replaces: another process may be saving here too.
    if replaced is not None and replaced.name != values["file"]:
        replaced.unlink(missing_ok=True)
    return folder


def load_folder(
    path: Path,
    parse: Callable[[dict[str, Any], dict[str, Tensor]], T],
    *,
    kind: str,
    schema_version: int,
    error: type[XAlignError],
) -> T:
    """Read what `save_folder` wrote.

    Args:
        path: The JSON file.
        parse: From its content and the tensors to what was saved. It may raise what reading a broken file
            raises.
        kind: What is expected there.
        schema_version: Which schema is expected.
        error: What to raise.

    Raises:
        XAlignError: Of the given class: another kind or schema, a file that is missing or broken, or files
            that are not what was saved.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["kind"] != kind or body["schema_version"] != schema_version:
            raise error(
                f"{path} is {body['kind']} of schema {body['schema_version']}; this xalign reads {kind} of "
                f"schema {schema_version}"
            )
        stated = body.pop("sha256", None)
        file = path.parent / Path(body["values"]["file"]).name
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != body["values"]["sha256"]:
            raise error(f"{file.name} does not belong to {path}: its sha256 differs")
        found = parse(body, safetensors.torch.load(data))
        if stated is not None and stated != _digest(body):
            raise error(f"{path} is not what was saved, its sha256 differs: the file was edited")
    except error:
        raise
    except FileNotFoundError as reason:
        raise error(
            f"{str(path.parent)!r} holds no {Path(reason.filename or path).name}, so {path} is broken or was "
            "never saved; name another folder"
        ) from None
    except _BROKEN as reason:
        raise error(f"{path} is broken ({type(reason).__name__}: {reason!s:.200}); save it again") from None
    return found


def writable_folder(folder: str | Path, error: type[XAlignError]) -> Path:
    """Make a folder, and check before the work that it can be written.

    Raises:
        XAlignError: Of the given class, where it cannot be written or is no folder.
        ArgumentTypeError: `folder` is not a path.
    """
    if not isinstance(folder, str | Path):
        raise ArgumentTypeError(f"folder must be a path, not {folder!r:.60}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as reason:
        said = reason.strerror if isinstance(reason, OSError) else reason
        raise error(f"folder={str(folder)!r} cannot be written: {said}; name another one") from None
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, and move it there in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _values_file(path: Path) -> Path | None:
    """Return the file of tensors that a saved JSON names, in its folder; None where it names none."""
    try:
        return path.parent / Path(json.loads(path.read_text("utf-8"))["values"]["file"]).name
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
