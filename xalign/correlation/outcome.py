"""`Outcome`: one score of one model in one language; and what could not be used, with the reason."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Identity:
    """A model, identified by its name without its folders, and the training step of a checkpoint.

    Attributes:
        model: Such as `Qwen3-0.6B`, or the folder of a run; None where a file does not say.
        step: The step of a checkpoint; None if there is none.
    """

    model: str | None
    step: int | None = None

    @classmethod
    def of(cls, name: str | None) -> "Identity":
        """Read a model's name or path: `runs/sft/checkpoint-200` is step 200 of `sft`.

        Example:
            >>> Identity.of("Qwen/Qwen3-0.6B"), Identity.of("runs/sft/checkpoint-200")
            (Identity(model='Qwen3-0.6B', step=None), Identity(model='sft', step=200))
        """
        if not name:
            return cls(None)
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".")]
        step = re.fullmatch(r"(?:checkpoint|step|iter)[-_]?0*(\d+)", parts[-1]) if parts else None
        if step is None:
            return cls(parts[-1] if parts else None)
        return cls(parts[-2] if len(parts) > 1 else None, int(step[1]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One score of a results file.

    Attributes:
        identity: Whose score it is.
        benchmark: The benchmark.
        language: Its language, as a task's name tells it.
        value: The score.
        task: The name of the task in the file.
        source: The file.
        besides: Other numbers of the same row of a table, such as the loss.
    """

    identity: Identity
    benchmark: str
    language: str
    value: float
    task: str
    source: str
    besides: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not used.

    Attributes:
        what: A task, a file or a language.
        reason: Why.
        source: The file that it stands in.
    """

    what: str
    reason: str
    source: str
