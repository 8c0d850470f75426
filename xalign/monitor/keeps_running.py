"""`KeepsRunning`: what goes wrong while a run is watched is said, and the run goes on."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from xalign.model.distributed import Ranks, is_alone


class KeepsRunning:
    """Turns errors into warnings, and remembers what is missing.

    The same problem with an error of the same class is said once: by a warning, or on stderr where the user
    has warnings raised as errors. `KeyboardInterrupt` and `SystemExit` pass.

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
            problem: The same as a sentence, for the warning.
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

    def mended(self, what: str) -> None:
        """Forget what was missing: it could be done now."""
        self.missing.pop(what, None)

    def _note(self, what: str, step: int, problem: str, error: Exception) -> None:
        steps = self.missing.setdefault(what, [])
        if step not in steps:
            steps.append(step)
        said = (problem, type(error).__name__)
        if self._ranks.index > 0 or said in self._said:
            return
        self._said.add(said)
        with contextlib.suppress(Exception):  # there may be no stderr, and no text of the error
            _say(
                f"xalign, step {step}: {problem} ({type(error).__name__}: {error}); training goes on, and it is "
                "tried again at the next measurement"
            )


def _say(message: str) -> None:
    try:
        warnings.warn(message, UserWarning, stacklevel=5)
    except UserWarning:
        print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)  # noqa: T201
