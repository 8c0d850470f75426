"""Which checkpoints in the folder of a run are complete, and whether the run has ended."""

import json
import os
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from xalign.errors import ReportError, XAlignError
from xalign.files import read_regular
from xalign.results.run_folder import TRAINER_STATE

SETTLED = 10.0  # seconds without a change between two looks, after which other trainers have finished
LONG_AGO = 120.0  # seconds since the last change, after which one look is enough
_TRAINER = re.compile(r"checkpoint-(\d+)")  # transformers, TRL, and what is built on them
_OTHERS = (
    re.compile(r"global_step_?(\d+)(?:_hf)?"),  # verl; OpenRLHF with --save_hf_ckpt
    re.compile(r"iter_(\d+)(?:[_-]hf)?"),  # exports of Megatron-LM
)
_INSIDE = ("", "actor/huggingface", "huggingface", "hf")  # where in such a folder the model lies
_MOST = 2**28  # bytes of an index, a state or a header
_Identity = frozenset[tuple[str, int, int]]


class ChangedError(XAlignError):
    """A checkpoint was deleted or written to while it was loaded."""


def checkpoints_of(folder: str | Path) -> dict[int, Path]:
    """Return the checkpoints that a trainer has finished writing in a folder, by their steps.

    The folder is looked at once. See `CheckpointFolders` for what counts as finished.

    Args:
        folder: The `output_dir` of a run.

    Raises:
        ReportError: There is no such folder.

    Example:
        >>> checkpoints_of(".")
        {}
    """
    return CheckpointFolders(folder)()


class CheckpointFolders:
    """Looks for finished checkpoints in the folder of a run.

    A `checkpoint-N` of a transformers Trainer is finished when its `trainer_state.json` is there, which is
    written last. A `global_step_N` (verl), `global_stepN_hf` (OpenRLHF) or `iter_N` (exports of Megatron-LM)
    has no such file. It is finished when all weights that its index names are there, each safetensors file
    has the size that its own header says, and no file has changed for 10 seconds from one look to another, or
    for two minutes by the clock.

    Args:
        folder: The folder of the run.
        clock: Seconds that only grow.

    Example:
        >>> CheckpointFolders(".")()
        {}
    """

    def __init__(self, folder: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = Path(folder), clock
        self._seen: dict[Path, tuple[_Identity, float]] = {}  # what was there, and since when

    def __call__(self) -> dict[int, Path]:
        """Return the folder of each finished checkpoint, by its step.

        Raises:
            ReportError: There is no such folder.
        """
        if not self._folder.is_dir():
            raise ReportError(f"{str(self._folder)!r} is no folder; give the output_dir of a run")
        found: dict[int, Path] = {}
        for path in sorted(self._folder.iterdir()):
            if step := _TRAINER.fullmatch(path.name):
                if (path / TRAINER_STATE).is_file():
                    found[int(step[1])] = path
            elif step := next(filter(None, (name.fullmatch(path.name) for name in _OTHERS)), None):
                model = _model_in(path)
                if model is not None and self._is_settled(model):
                    found.setdefault(int(step[1]), model)
        return found

    def _is_settled(self, model: Path) -> bool:
        now, newest, found = self._clock(), 0.0, identity(model)
        with suppress(ValueError):
            newest = max(time_ns for _, _, time_ns in found) / 1e9
        before, since = self._seen.get(model, (None, now))
        if before != found:
            since = now
        self._seen[model] = (found, since)
        return now - since >= SETTLED or time.time() - newest >= LONG_AGO


def has_ended(found: Mapping[int, Path]) -> bool:
    """Return whether the last checkpoint of a run says that training stopped there.

    The state of a transformers Trainer says so: it is at `max_steps`, or its control stops. Other trainers
    save no such state; then the result is False.

    Args:
        found: What `CheckpointFolders` found.

    Example:
        >>> has_ended({})
        False
    """
    if not found:
        return False
    try:
        state = json.loads(read_regular(found[max(found)] / TRAINER_STATE, _MOST))
        control = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
        at_end = 0 < state.get("max_steps", 0) <= state.get("global_step", 0)
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    return bool(at_end or control.get("should_training_stop"))


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Make sure that a checkpoint does not change, and is not deleted, while it is loaded.

    Args:
        folder: The checkpoint.

    Raises:
        ChangedError: A file of it was deleted, added or written to. The error that loading raised is its
            cause.
    """
    before = identity(folder)
    try:
        yield
    except Exception as error:
        if identity(folder) != before or not before:
            raise ChangedError(_changed(folder)) from error
        raise
    if identity(folder) != before:
        raise ChangedError(_changed(folder))


def _changed(folder: Path) -> str:
    said = "was written to while it was loaded" if folder.is_dir() else "was deleted before it was measured"
    return f"{str(folder)!r} {said}; save_total_limit keeps more checkpoints"


def identity(folder: Path) -> _Identity:
    """Return name, size and modification time of every file directly in a folder; empty without a folder."""
    found = set()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # it was deleted since
                state = entry.stat()
                found.add((entry.name, state.st_size, state.st_mtime_ns))
    return frozenset(found)


def has_whole_weights(folder: Path) -> bool:
    """Return whether all weights of a saved model, or of an adapter, are there and have their full size.

    Args:
        folder: What `save_pretrained` writes.
    """
    try:
        for index in sorted(folder.glob("*.index.json")):
            names = set(json.loads(read_regular(index, _MOST))["weight_map"].values())
            return bool(names) and all(_is_whole(folder / name) for name in names)
        weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
        return bool(weights) and all(map(_is_whole, weights))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _model_in(folder: Path) -> Path | None:
    """Return where in the folder of a step a whole model lies."""
    for inside in _INSIDE:
        model = folder / inside
        is_model = (model / "config.json").is_file() or (model / "adapter_config.json").is_file()
        if is_model and has_whole_weights(model):
            return model
    return None


def _is_whole(weights: Path) -> bool:
    """Return whether a safetensors file has the size that its header says; other files only have to be there.

    Raises:
        OSError: It cannot be read.
        ValueError: Its header is not one.
    """
    if weights.suffix != ".safetensors":
        return weights.stat().st_size > 0
    with open(weights, "rb") as file:
        start = file.read(8)
        if len(start) < 8:  # noqa: PLR2004
            return False
        (length,) = struct.unpack("<Q", start)
        if length > min(_MOST, weights.stat().st_size):
            return False
        header = json.loads(file.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return bool(weights.stat().st_size == 8 + length + max(ends, default=0))
