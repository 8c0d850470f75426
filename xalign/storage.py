"""One format on disk: a JSON file beside one safetensors file that it names, written whole or not at all."""

import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import safetensors.torch
from msgspec import Meta
from torch import Tensor

from xalign.errors import ArgumentTypeError, XAlignError
from xalign.files import read_regular, sweep, temporary_name, version_of
from xalign.schema import Count, Digest, Fields, checked, read_json

T = TypeVar("T")
# What a file that was cut, edited or never ours can raise while it is read.
_READS = 20  # attempts, while another process overwrites what is read
_BROKEN = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, MemoryError),
    safetensors.SafetensorError,
)
_MOST_JSON = 2**30  # bytes; a report of a million sentence pairs has half of that
_NAME = r"values-[0-9a-f]{12}\.safetensors"
# All files of this format. One of them never removes what another names.
_JSON_FILES = ("report.json", "xalign.json")
_ENVELOPE = ("schema_version", "kind", "values")


class Values(Fields):
    """The file of tensors that a JSON file names. Files of 0.1.0 do not say its size."""

    file: Annotated[str, Meta(pattern=rf"\A{_NAME}\Z")]
    sha256: Digest
    bytes: Count | None = None


def save_folder(
    folder: Path,
    name: str,
    content: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    parse: Callable[[dict[str, Any], dict[str, Tensor]], object],
    *,
    kind: str,
    schema_version: int,
    error: type[XAlignError],
) -> Path:
    """Write tensors under a name of their own, then the JSON that names them, each in one step.

    What an interruption leaves is what was there before, or the new files. What `load_folder` would refuse is
    not written.

    Args:
        folder: Where; see `writable_folder`.
        name: Of the JSON file.
        content: What the JSON holds beside `kind`, `schema_version` and the checksums.
        tensors: Name -> tensor.
        parse: What `load_folder` is called with.
        kind: What is saved, such as `xalign.UnitSet`.
        schema_version: Of the content.
        error: What to raise where the content cannot be saved.

    Raises:
        XAlignError: Of the given class; then nothing was written.
    """
    data = safetensors.torch.save({key: values.contiguous() for key, values in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    # No other save writes this file, so that none that replaces what was there can remove it.
    values = {
        "file": f"values-{secrets.token_hex(6)}.safetensors",
        "sha256": digest,
        "bytes": len(data),
    }
    body = {"schema_version": schema_version, "kind": kind, **content, "values": values}
    try:
        text = json.dumps(body | {"sha256": _digest(body)}, ensure_ascii=False, indent=1, allow_nan=False)
        encoded = text.encode()
    except (TypeError, ValueError) as reason:
        raise error(f"{kind}: its provenance holds what JSON cannot: {reason}; nothing was written") from None
    try:
        again = read_json(encoded)
        parse({key: again[key] for key in content}, safetensors.torch.load(data))
    except _BROKEN as reason:
        raise error(
            f"{kind} cannot be saved, it would not load again: {reason}; nothing was written"
        ) from None
    with _told_as(error, folder / name):
        _write_both(folder / str(values["file"]), data, folder / name, encoded)
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

    The checksums tell of damage, and of edits by hand. They are no signature: who writes a file can write
    the checksum that belongs to it. Therefore `parse` checks every field as well.

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
    for _ in range(_READS):
        before = version_of(path)
        try:
            body = checked(dict[str, Any], read_json(read_regular(path, _MOST_JSON)))
            if body["kind"] != kind or body["schema_version"] != schema_version:
                raise error(
                    f"{path} is {body['kind']!s:.80} of schema {body['schema_version']!s:.20}; this xalign "
                    f"reads {kind} of schema {schema_version}"
                )
            return _parsed(path, body, parse, error)
        except error as reason:
            problem = reason
        except FileNotFoundError as reason:
            problem = error(
                f"{str(path.parent)!r} holds no {Path(reason.filename or path).name}, so {path} is broken or "
                "was never saved; name another folder"
            )
        except _BROKEN as reason:
            problem = error(f"{path} is broken ({type(reason).__name__}: {reason!s:.300}); save it again")
        if version_of(path) == before:  # nobody has written a new one meanwhile
            raise problem
    raise error(f"{path} is written again and again while it is read; read it when its writer is done")


def _parsed(
    path: Path,
    body: dict[str, Any],
    parse: Callable[[dict[str, Any], dict[str, Tensor]], T],
    error: type[XAlignError],
) -> T:
    """Return what was saved, from the JSON and from the tensors that belong to it."""
    values = checked(Values, body["values"], "values")
    # Reports of 0.1.0 have no checksum of their own, and no file of 0.1.0 has the size of its tensors.
    has_checksum = "sha256" in body or values.bytes is not None
    stated = checked(Digest, body.pop("sha256", None), "sha256") if has_checksum else None
    data = _tensor_bytes(path.with_name(values.file), values, error)
    content = {key: found for key, found in body.items() if key not in _ENVELOPE}
    found = parse(content, safetensors.torch.load(data))
    if stated is not None and stated != _digest(body):
        raise error(f"{path} is not what was saved, its sha256 differs: the file was edited")
    return found


def writable_folder(folder: str | Path, error: type[XAlignError]) -> Path:
    """Make a folder, and check before the work that it can be written.

    Files that a killed process left half-written there are removed.

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
    sweep(folder)
    return folder


def write_whole(
    path: Path, data: bytes, error: type[XAlignError] | None = None, *, is_forced: bool = True
) -> None:
    """Write a file beside its place, and move it there in one step.

    Args:
        path: The file; replaced where it exists.
        data: What it is to hold.
        error: What to raise where it cannot be written, instead of the system's OSError.
        is_forced: Wait until it is on the disk, so that a power failure does not take it.
    """
    beside = path.with_name(temporary_name())
    with _told_as(error, path):
        try:
            _write(beside, data, is_forced)
            os.replace(beside, path)
        finally:
            _remove(beside)


def _write_both(values: Path, data: bytes, path: Path, encoded: bytes) -> None:
    """Write the tensors and the JSON that names them, and remove the tensors that this replaces.

    Both are on the disk before either has its name: what a killed process leaves is swept.
    """
    beside = [file.with_name(temporary_name()) for file in (values, path)]
    replaced = None
    try:
        _write(beside[0], data)
        _write(beside[1], encoded)
        replaced = _values_file(path)
        os.replace(beside[0], values)
        os.replace(beside[1], path)
    finally:
        # An interruption may come at any line, also right after the last one.
        if os.path.lexists(beside[1]):
            _remove(*beside, values)
        else:
            _remove(beside[0], *filter(None, [replaced]))


def _write(path: Path, data: bytes, is_forced: bool = True) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        if is_forced:
            os.fsync(file.fileno())


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):  # it was moved, or never made; or it stays
            os.unlink(path)


@contextmanager
def _told_as(error: type[XAlignError] | None, path: Path) -> Iterator[None]:
    """Raise the format's own error for what the system says of a file."""
    try:
        yield
    except OSError as reason:
        if error is None:
            raise
        raise error(
            f"{path} cannot be written: {reason.strerror or reason}; make room there, or name another place"
        ) from reason


def _tensor_bytes(path: Path, values: Values, error: type[XAlignError]) -> bytes:
    data = read_regular(path, values.bytes)
    if hashlib.sha256(data).hexdigest() != values.sha256:
        raise error(f"{path.name} does not belong to the JSON file beside it: its sha256 differs")
    return data


def _values_file(path: Path) -> Path | None:
    """Return the file of tensors that a save replaces: one of this format's, and of no other JSON file."""
    named = {name: values_named_in(path.with_name(name)) for name in {path.name, *_JSON_FILES}}
    mine = named.pop(path.name)
    return None if mine is None or mine in named.values() else path.with_name(mine)


def values_named_in(path: Path) -> str | None:
    """Return the file of tensors that a JSON file of this format names; None where it names none."""
    try:
        name = read_json(read_regular(path, _MOST_JSON))["values"]["file"]
        return name if re.fullmatch(_NAME, name) else None
    except _BROKEN:
        return None


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()
