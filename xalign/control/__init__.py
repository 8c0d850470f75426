"""Close the loop: controllers decide from measurements how a run goes on."""

from collections.abc import Callable
from typing import Any

from xalign.control.controller import Controller
from xalign.control.deficit import Deficit
from xalign.control.duty import Duty
from xalign.control.fixed import Fixed, Random
from xalign.control.guarded import Guarded
from xalign.control.loop import Loop

CONTROLLERS: dict[str, Callable[..., Any]] = {
    "loop": Loop,
    "duty": Duty,
    "deficit": Deficit,
    "guarded": Guarded,
    "fixed": Fixed,
    "random": Random,
}
"""Name -> function that makes the controller from options."""


__all__ = ["CONTROLLERS", "Controller"]
