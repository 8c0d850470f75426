"""Trackio, which keeps runs on this machine and shows them in the browser."""

from collections.abc import Sequence
from types import ModuleType

from transformers.trainer_callback import TrainerCallback

from xalign.trackers.tracker import STEP, Pixels, Rows, Tracker


def _run(callback: TrainerCallback | None) -> ModuleType | None:  # noqa: ARG001
    """Return Trackio's module, which logs to its current run."""
    import trackio

    return None if trackio.context_vars.current_run.get() is None else trackio


def _log_image(run: ModuleType, key: str, pixels: Pixels, step: int) -> None:
    run.log({key: run.Image(pixels), STEP: step})


def _log_table(run: ModuleType, key: str, columns: Sequence[str], rows: Rows, step: int) -> None:
    run.log({key: run.Table(columns=list(columns), data=[list(row) for row in rows]), STEP: step})


TRACKIO = Tracker("trackio", "TrackioCallback", _run, _log_image, _log_table)
