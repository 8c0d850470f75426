"""`KeepsRunning`: errors while a run is measured become warnings, and the run goes on."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from xalign.errors import ReportError
from xalign.model.distributed import Ranks, is_alone
from xalign.warn import warn


class KeepsRunning:
    """Turns errors into warnings, and remembers what is missing.

    The same problem with an error of the same class is reported once: by a warning, or on stderr if the user
    turns warnings into errors. `KeyboardInterrupt` and `SystemExit` are not caught.

    Args:
        ranks: The processes of the run.

    Attributes:
        missing: What is missing, such as `"measurements"` -> the steps of the run.

    Example:
        >>> keeps_running = KeepsRunning(Ranks())
        >>> with keeps_running("pictures", 100, "the trackers get no picture"):
        ...     figure = draw()  # may raise
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._said: set[tuple[str, str]] = set()
        self.missing: dict[str, list[int]] = {}

    @contextmanager
    def __call__(self, what: str, step: int, problem: str, *, together: bool = False) -> Iterator[None]:
        """Let the run go on after an error in the block.

        Args:
            what: What is missing after an error.
            step: The step of the run.
            problem: The problem as a sentence, for the warning.
            together: All processes run the block, and an error of one is an error of all. Otherwise the block
                must not wait for other processes.
        """
        ranks = self._ranks if together else Ranks()
        try:
            with ranks.raise_everywhere():
                yield
        except Exception as error:
            if is_alone(error):  # the other processes would wait for this one forever
                raise
            self._note(what, step, problem, error)

    def hook(self, name: str, step: int) -> AbstractContextManager[None]:
        """Let the run go on after an error anywhere in a callback's method.

        With several processes, an error in only one of them ends the run, because the others may wait for it.

        Args:
            name: The method.
            step: The step of the run.
        """
        return self(name, step, f"{name} broke off") if self._ranks.count == 1 else contextlib.nullcontext()

    def mended(self, what: str, steps: Iterable[int | None]) -> None:
        """Forget what was missing at some steps, because it has now been done."""
        left = [step for step in self.missing.pop(what, []) if step not in set(steps)]
        if left:
            self.missing[what] = left

    def _note(self, what: str, step: int, problem: str, error: Exception) -> None:
        steps = self.missing.setdefault(what, [])
        if step not in steps:
            steps.append(step)
        # What a disk does wrong has many classes, and is one problem.
        said = (problem, "disk" if isinstance(error, OSError | ReportError) else type(error).__name__)
        if self._ranks.index > 0 or said in self._said:
            return
        self._said.add(said)
        with contextlib.suppress(Exception):  # there may be no stderr, and no text of the error
            say(f"step {step}: {problem} ({type(error).__name__}: {error}); training goes on")


def say(message: str) -> None:
    """Warn, or print if the user turns warnings into errors, because these must not end a run."""
    try:
        warn(message)
    except UserWarning:
        print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)  # noqa: T201
