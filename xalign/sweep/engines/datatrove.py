"""What the engines on datatrove's executors share: how one is made, and that its log stays in its files."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xalign.checks import known_options
from xalign.errors import ArgumentError, MissingExtraError
from xalign.extras import install_command
from xalign.sweep.engines.engine import Job

# What xalign itself says. Done tasks are known by their reports, so datatrove is to skip none.
_OURS = ("self", "pipeline", "tasks", "workers", "logging_dir", "skip_completed", "depends", "depends_job_id")


def needs(package: str, error: ImportError) -> MissingExtraError:
    """Return the error that says how to install a package that an engine needs."""
    how = install_command("scale") + ("" if package == "datatrove" else f" and pip install {package}")
    return MissingExtraError(f"this engine needs {package}: {how} ({error})")


def executor_of(kind: Any, engine: str, job: Job, defaults: dict[str, Any]) -> Any:
    """Return an executor of datatrove for a job.

    Args:
        kind: The class.
        engine: The engine's name, for errors.
        job: The tasks.
        defaults: Options that a user may change.

    Raises:
        ArgumentError: An option that the class does not have, or a needed one that is not given.
    """
    known = {
        name: one for name, one in inspect.signature(kind.__init__).parameters.items() if name not in _OURS
    }
    known_options(f"engine_options of {engine}", job.options, known)
    options = defaults | job.options
    absent = [
        name for name, one in known.items() if one.default is inspect.Parameter.empty and name not in options
    ]
    if absent:
        raise ArgumentError(f"engine_options of {engine}: {', '.join(absent)} must be given")
    return kind(
        [job.rank],
        tasks=len(job.names),
        workers=job.workers,
        logging_dir=str(job.folder.resolve() / "datatrove"),
        skip_completed=False,
        **options,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep datatrove's log out of this process's output; that of tasks stays in their files."""
    from loguru import logger

    logger.disable("datatrove")
    try:
        yield
    finally:
        logger.enable("datatrove")
