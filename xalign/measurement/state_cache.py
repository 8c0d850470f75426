"""`StateCache`: a folder of pooled states, checked, bounded, and shared by any number of processes."""

import errno
import hashlib
import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from jaxtyping import Float
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.files import read_regular, sweep
from xalign.storage import write_whole

MOST_BYTES = 10 * 2**30
_NAME = re.compile(r"states-[0-9a-f]{64}\.safetensors")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StateCache:
    """A folder in which `measure(..., cache=)` keeps the states it has read, so that they are not read again.

    Each file holds the pooled states of one side of a bitext at one place, as safetensors. It is first
    written under another name and then renamed, so that several processes may share a folder. A checksum
    finds files that were cut or altered. Other files in the folder are left alone.

    Args:
        folder: The folder; it is created if it does not exist.
        most_bytes: The most bytes of states to keep there. The least recently used states are deleted first.
            While several processes write, each may briefly exceed the limit by a tenth.

    Raises:
        ArgumentError: The folder cannot be written, or is a file, or `most_bytes` is below 1.
        ArgumentTypeError: `folder` is not a path.

    Example:
        >>> cache = StateCache("states", most_bytes=2**30)
        >>> report = measure(model, tokenizer, "bundled", ["mexa"], cache=cache)
        >>> again = measure(model, tokenizer, "bundled", ["mexa", "retrieval"], cache=cache)
        >>> again.cost.forwards, again.score("mexa") == report.score("mexa")
        (0, True)
    """

    def __init__(self, folder: str | Path, most_bytes: int = MOST_BYTES) -> None:
        if not isinstance(folder, str | Path):
            raise ArgumentTypeError(f"cache={folder!r:.60} must be a folder, or a StateCache")
        self.folder = Path(folder)
        self.most_bytes = whole_number("most_bytes", most_bytes, least=1)
        self._written = 0  # since the folder was last trimmed
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except (OSError, ValueError) as reason:
            if isinstance(reason, OSError) and reason.errno in _FULL:
                return  # nothing can be kept there now, which is said when it is tried
            said = reason.strerror if isinstance(reason, OSError) else reason
            raise ArgumentError(
                f"cache={str(folder)!r} cannot be written: {said}; name a folder of your own, or leave cache "
                "out"
            ) from None
        sweep(self.folder)

    def get(self, key: str) -> Float[Tensor, "pair width"] | None:
        """Return the states that were kept under a key (64 hexadecimal digits); None if there are none.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not what was kept; or whatever else reading such a file raises.
        """
        path = self._path(key)
        try:
            data = read_regular(path, self.most_bytes)
        except FileNotFoundError:
            return None
        length = int.from_bytes(data[:8], "little")
        said = json.loads(data[8 : 8 + length])["__metadata__"]
        states = safetensors.torch.load(data)["states"]
        if said != {"sha256": _checksum(key, states)}:
            raise ValueError(f"{path.name} is not what was kept: its sha256 differs")
        with suppress(OSError):  # another process has evicted it, or the folder cannot be written any more
            os.utime(path)
        return states

    def put(self, key: str, states: Float[Tensor, "pair width"]) -> None:
        """Keep states under a key, and evict others if there would be too many.

        Raises:
            OSError: There is no room on the disk, or the folder cannot be written.
        """
        metadata = {"sha256": _checksum(key, states)}
        data = safetensors.torch.save({"states": states.contiguous()}, metadata)
        # Not forced onto the disk: what a power failure takes is found by its checksum and read anew.
        write_whole(self._path(key), data, is_forced=False)
        self._written += len(data)
        if self._written > self.most_bytes // 10:
            self.trim()

    def trim(self) -> None:
        """Remove the least recently used states until the rest is within the limit."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # another process evicted it
                        state = entry.stat(follow_symlinks=False)
                        found.append((state.st_mtime_ns, entry.path, state.st_size))
        total = sum(size for *_, size in found)
        for _, path, size in sorted(found):
            if total <= self.most_bytes:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        self._written = 0

    def _path(self, key: str) -> Path:
        return self.folder / f"states-{key}.safetensors"


def _checksum(key: str, states: Tensor) -> str:
    """Return a digest of states that holds only under their own key, with their own shape."""
    digest = hashlib.sha256(f"{key} {states.dtype} {tuple(states.shape)} ".encode())
    digest.update(states.contiguous().numpy().data)
    return digest.hexdigest()
