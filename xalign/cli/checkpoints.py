"""The checkpoints that a command measures: those in the folder of a run, or revisions of a model."""

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from xalign.cli.loading import Loaded


class Checkpoint(NamedTuple):
    """What `load_model` takes to load a checkpoint."""

    name: str
    revision: str | None = None


class Checkpoints:
    """Finds the checkpoints, each time it is called.

    Args:
        run: The folder of a run, or with `revisions` a model.
        revisions: Revisions with their steps in their names.
        out: The folder of the history.
        follow: Whether there may be none yet.

    Attributes:
        last: The step at which the run has ended; None where that is not known.

    Raises:
        ArgumentError: There are none, or the arguments do not go together.
    """

    def __init__(self, run: str, revisions: list[str] | None, out: Path | None, *, follow: bool) -> None:
        from xalign.cli.loading import check_source
        from xalign.errors import ArgumentError
        from xalign.monitor.checkpoint_folders import CheckpointFolders

        check_source("run", run)
        self._look, self._named = CheckpointFolders(run), revisions is not None
        self.last: int | None = None
        if revisions is None:
            if not self._look() and not follow:
                raise ArgumentError(
                    f"run={run!r} holds no finished checkpoint-N, global_step_N or iter_N; is it the "
                    "output_dir of a run? One that was written to a moment ago is found with --follow"
                )
            return
        if out is None:
            raise ArgumentError("--revisions needs --out, the folder of the history")
        self._of_model = {step: Checkpoint(run, one) for step, one in steps_of(revisions).items()}
        if Path(run).is_dir() and self._look():
            raise ArgumentError(f"run={run!r} holds checkpoints: leave --revisions out, or name a model")

    def __call__(self) -> dict[int, Checkpoint]:
        """Return the checkpoints that are there now, by their steps."""
        if self._named:
            return self._of_model
        return {step: Checkpoint(str(path)) for step, path in self._look().items()}

    def ended(self, found: Mapping[int, Checkpoint]) -> bool:
        """Return whether no more checkpoints will come, and note the last one."""
        from xalign.monitor.checkpoint_folders import has_ended

        if self._named:
            return True
        is_end = has_ended({step: Path(one.name) for step, one in found.items()})
        self.last = max(found) if is_end else None
        return is_end


def loader(**options: Any) -> "Callable[[Checkpoint], Loaded]":
    """Return a function that loads a checkpoint with these options of `load_model`.

    It raises a `ChangedError` where the checkpoint is deleted or written to meanwhile.
    """
    from xalign.cli.loading import load_model
    from xalign.monitor.checkpoint_folders import unchanged

    shown = sys.stderr.isatty()

    def load(one: Checkpoint) -> "Loaded":
        with unchanged(Path(one.name)) if one.revision is None else nullcontext():
            return load_model(one.name, revision=one.revision, progress=shown, **options)

    return load


def steps_of(revisions: list[str]) -> dict[int, str]:
    """Return the revisions by their steps: the number behind "step" in a name, or the last number there.

    Raises:
        ArgumentError: A name without a number, or two of one step.
    """
    from xalign.errors import ArgumentError

    found: dict[int, str] = {}
    for revision in revisions:
        numbers = re.findall(r"step[-_]?(\d+)", revision) or re.findall(r"\d+", revision)
        if not numbers:
            raise ArgumentError(f"revisions: {revision!r} has no step in its name, like step1000")
        if int(numbers[-1]) in found:
            raise ArgumentError(f"revisions: {found[int(numbers[-1])]!r} and {revision!r} have one step")
        found[int(numbers[-1])] = revision
    return found
