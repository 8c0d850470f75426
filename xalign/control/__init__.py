"""Closing the loop: controllers, which decide from what is measured how a run goes on."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from xalign.checks import known_options
from xalign.control.controller import Controller, resolve_controller
from xalign.control.deficit import Deficit
from xalign.control.duty import Duty
from xalign.control.fixed import Fixed, Random
from xalign.control.guarded import Guarded
from xalign.control.loop import Loop
from xalign.errors import ArgumentError

CONTROLLERS: dict[str, Callable[..., Any]] = {
    "loop": Loop,
    "duty": Duty,
    "deficit": Deficit,
    "guarded": Guarded,
    "fixed": Fixed,
    "random": Random,
}
"""Name -> what makes the controller, from options."""


def controller_of(given: object, options: Mapping[str, Any]) -> Controller:
    """Return the controller meant by a name with options, an object or a plain function.

    Args:
        given: As in `resolve_controller`.
        options: Options of a controller that is named.

    Raises:
        ArgumentError: An option that the controller does not have, or a value that it refuses.
    """
    if isinstance(given, str) and given in CONTROLLERS:
        make = CONTROLLERS[given]
        known_options(f"control={given!r}", options, signature(make).parameters)
        return make(**options)  # type: ignore[no-any-return]
    if options:
        raise ArgumentError(
            f"{', '.join(options)}: give it to the controller itself, as in Loop(target=0.85)"
        )
    return resolve_controller(given, CONTROLLERS)


__all__ = ["CONTROLLERS", "Controller", "controller_of"]
