"""`Engine`: who runs the tasks of a sweep, and `Job`: what it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """The tasks of a sweep that are not done yet.

    Attributes:
        folder: A new folder with the plan, for logs.
        names: The names of the tasks.
        workers: How many run at once.
        here: Runs a task in this process, from its name; it raises what goes wrong.
        command: Starts a worker: a process that reads a name on each line of its input, and answers with a
            line of JSON, the name and the error or null.
        rank: Runs the task of a number in any process that sees the same files, as a step of a datatrove
            pipeline: a function of data, number and count that can be imported there.
        said: Is called with the name of each task that ended, and its error or None.
        options: Of the engine.
    """

    folder: Path
    names: list[str]
    workers: int
    here: Callable[[str], object]
    command: list[str]
    rank: Callable[..., None]
    said: Callable[[str, str | None], object]
    options: dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """A way to run tasks.

    Attributes:
        name: What it is chosen by.
        run: Run a job. One task that fails does not stop the others.
        waits: Whether the tasks have ended when `run` returns.
        at_home: Whether one worker is this process.
    """

    name: str
    run: Callable[[Job], None]
    waits: bool = True
    at_home: bool = False
