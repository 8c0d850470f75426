"""Comet: pictures by step, tables as files, settings as parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from transformers.trainer_callback import TrainerCallback

from xalign.plain_config import Config
from xalign.trackers.tracker import Pixels, Rows, Tracker


class Experiment(Protocol):
    """The part of a `comet_ml` experiment that is used, online or offline."""

    def log_image(self, image_data: Pixels, name: str, *, step: int) -> object:
        """Log a picture [height, width, 3]."""

    def log_table(self, filename: str, tabular_data: Sequence[Sequence[Any]], headers: list[str]) -> object:
        """Log a table as a file, whose extension gives its format."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log settings."""


def _run(callback: TrainerCallback | None) -> Experiment | None:
    """Return the experiment that the trainer's callback began; None in all processes but the first."""
    experiment: Experiment | None = getattr(callback, "_experiment", None)
    return experiment


def _log_image(run: Experiment, key: str, pixels: Pixels, step: int) -> None:
    run.log_image(pixels, name=key, step=step)


def _log_table(run: Experiment, key: str, columns: Sequence[str], rows: Rows, step: int) -> None:
    run.log_table(f"{key}-{step:08d}.csv", [list(row) for row in rows], headers=list(columns))


def _log_config(run: Experiment, config: Config) -> None:
    run.log_parameters(dict(config))


COMET = Tracker(
    "comet_ml",
    "CometCallback",
    run=_run,
    log_image=_log_image,
    log_table=_log_table,
    log_config=_log_config,
)
