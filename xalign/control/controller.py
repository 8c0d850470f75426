"""`Controller`: what decides, at each measurement, how a run goes on."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from xalign.checks import known_options
from xalign.control.decision import Decision
from xalign.control.signals import Signals
from xalign.errors import ArgumentError, ArgumentTypeError

Decide = Callable[[Sequence[Signals], Sequence[Decision]], Decision]


@runtime_checkable
class Controller(Protocol):
    """Decide from all measurements of a run, and from the decisions at all but the last of them.

    It keeps no state between calls. So a resumed run decides as an unbroken one does, and the decisions of a
    run can be computed again from its measurements.
    """

    @property
    def name(self) -> str:
        """What logs call it."""

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        """Return what to do from the last measurement on.

        Args:
            signals: All measurements of the run, the present one last.
            decisions: What was decided at each of those before it.
        """


def resolve_controller(
    given: object, known: Mapping[str, Callable[..., Controller]], options: Mapping[str, Any] | None = None
) -> Controller:
    """Return the controller meant by a name, an object or a plain function.

    Args:
        given: A name; an object with `name` and `decide`; or a function (signals, decisions) -> `Decision`.
        known: Name -> function that makes the controller.
        options: Options of a controller given by name.

    Raises:
        ArgumentError: An unknown name, or an option that the controller does not have or refuses.
        ArgumentTypeError: Anything else.
    """
    if isinstance(given, str) and given in known:
        known_options(f"control={given!r}", options or (), signature(known[given]).parameters)
        return known[given](**(options or {}))
    if isinstance(given, str):
        raise ArgumentError(f"control={given!r} must be one of {', '.join(known)}, or a Controller")
    if options:
        raise ArgumentError(
            f"{', '.join(options)}: give it to the controller itself, as in Loop(target=0.85)"
        )
    if isinstance(given, Controller) and not isinstance(given, type):
        return given
    if callable(given) and not isinstance(given, type):
        return _Plain(given)
    raise ArgumentTypeError(
        f"control={given!r:.60} must be a name ({', '.join(known)}), a Controller such as Loop(), or a "
        "function (signals, decisions) -> Decision"
    )


class _Plain:
    """A plain function as a controller."""

    def __init__(self, fn: Decide) -> None:
        self._fn, self.name = fn, str(getattr(fn, "__name__", type(fn).__name__))

    def decide(self, signals: Sequence[Signals], decisions: Sequence[Decision]) -> Decision:
        return self._fn(signals, decisions)
