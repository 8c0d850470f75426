"""`Tracker`: an experiment tracker, with everything that the callback must know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import UInt8
from transformers.trainer_callback import TrainerCallback

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.plain_config import Config

Run = TypeVar("Run")
Pixels = UInt8[np.ndarray, "height width colour"]
Rows = Sequence[Sequence[Any]]
STEP = "train/global_step"
"""The key by which W&B and trackio draw a trainer's charts."""


def log_image_with_module(run: ModuleType, key: str, pixels: Pixels, step: int) -> None:
    """Log a picture through a tracker's module that works like W&B's."""
    run.log({key: run.Image(pixels), STEP: step})


def log_table_with_module(run: ModuleType, key: str, columns: Sequence[str], rows: Rows, step: int) -> None:
    """Log a table through a tracker's module that works like W&B's."""
    run.log({key: run.Table(columns=list(columns), data=[list(row) for row in rows]), STEP: step})


def log_config_with_module(run: ModuleType, config: Config) -> None:
    """Add settings to the config of a run through a tracker's module that works like W&B's."""
    run.config.update(dict(config), allow_val_change=True)


def no_config(run: object, config: Config) -> None:  # noqa: ARG001
    """Log no settings, for trackers that have no place for them."""


def nothing_to_prepare(report_to: Sequence[str]) -> None:  # noqa: ARG001
    """Prepare nothing, for trackers that need no preparation."""


@dataclass(frozen=True, slots=True)
class Tracker(Generic[Run]):
    """An experiment tracker that takes pictures and tables. One line in `TRACKERS` makes it known by name.

    Scalars need no `Tracker`: the trainer gives them to every callback of `report_to`. A tracker of your own
    is passed as `AlignmentCallback(..., trackers=(mine,))`.

    Attributes:
        name: Its name; if the trainer knows the tracker, the one in `report_to`.
        callback: The class name of the trainer's callback that shows that the tracker is in use; None for a
            tracker that needs no callback and is always in use.
        run: A function from that callback, or None, to the live run or writer; returns None if there is no
            run. Only the first of several processes calls it.
        log_image: Log a picture: (run, key, pixels [height, width, 3] of bytes, step).
        log_table: Log a table: (run, key, column names, rows, step). Cells are text, numbers or None.
        log_config: Add the run's settings to what the tracker sorts and filters runs by: (run, settings).
            Settings are name -> text, number or switch. Called once per run, before the first values.
        prepare: Called once with the trainer's `report_to`, before training starts; returns a sentence to
            print, or None.

    Raises:
        ArgumentError: An empty name.
        ArgumentTypeError: A name that is not text, or a function that cannot be called.

    Example:
        >>> logged = []
        >>> mine = Tracker(
        ...     "mine",
        ...     callback=None,
        ...     run=lambda callback: logged,
        ...     log_image=lambda run, key, pixels, step: run.append((key, pixels.shape, step)),
        ...     log_table=lambda run, key, columns, rows, step: run.append((key, list(columns), step)),
        ... )
        >>> mine.log_table(mine.run(None), "scores", ["language", "score"], [["deu_Latn", 0.5]], 100)
        >>> logged
        [('scores', ['language', 'score'], 100)]
    """

    name: str
    callback: str | None
    run: Callable[[TrainerCallback | None], Run | None]
    log_image: Callable[[Run, str, Pixels, int], object]
    log_table: Callable[[Run, str, Sequence[str], Rows, int], object]
    prepare: Callable[[Sequence[str]], str | None] = nothing_to_prepare
    log_config: Callable[[Run, Config], object] = no_config

    def __post_init__(self) -> None:
        """Check types, so that a mistake is found before training starts."""
        for name, given in (("name", self.name), ("callback", self.callback)):
            if not isinstance(given, str) and not (name == "callback" and given is None):
                raise ArgumentTypeError(f"{name}={given!r:.60} of a Tracker must be text")
        if not self.name:
            raise ArgumentError("name='' of a Tracker must not be empty")
        for name in ("run", "log_image", "log_table", "prepare", "log_config"):
            if not callable(getattr(self, name)):
                raise ArgumentTypeError(
                    f"{name}={getattr(self, name)!r:.60} of Tracker {self.name!r} must be a function"
                )
