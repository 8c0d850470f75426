"""Trackio, which keeps runs on this machine and shows them in the browser."""

from types import ModuleType

from transformers.trainer_callback import TrainerCallback

from xalign.trackers.tracker import (
    Tracker,
    log_config_with_module,
    log_image_with_module,
    log_table_with_module,
)


def _run(callback: TrainerCallback | None) -> ModuleType | None:  # noqa: ARG001
    """Return Trackio's module, which logs to its current run."""
    import trackio

    return None if trackio.context_vars.current_run.get() is None else trackio


TRACKIO = Tracker(
    "trackio",
    "TrackioCallback",
    run=_run,
    log_image=log_image_with_module,
    log_table=log_table_with_module,
    log_config=log_config_with_module,
)
