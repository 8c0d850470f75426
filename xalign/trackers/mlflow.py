"""MLflow: pictures by step, tables as files, settings as parameters."""

import csv
import io
import re
from collections.abc import Sequence
from types import ModuleType

from transformers.trainer_callback import TrainerCallback

from xalign.plain_config import Config
from xalign.trackers.tracker import Pixels, Rows, Tracker

# MLflow allows these in names; the trainer's callback replaces others in its metrics' names the same way.
_NOT_ALLOWED = re.compile(r"[^0-9A-Za-z_\-. /]")


def _run(callback: TrainerCallback | None) -> ModuleType | None:  # noqa: ARG001
    """Return MLflow's module, which logs to its active run."""
    import mlflow

    return None if mlflow.active_run() is None else mlflow


def _log_image(run: ModuleType, key: str, pixels: Pixels, step: int) -> None:
    run.log_image(pixels, key=_NOT_ALLOWED.sub("_", key), step=step)


def _log_table(run: ModuleType, key: str, columns: Sequence[str], rows: Rows, step: int) -> None:
    """Log a file that MLflow shows as a table; its `log_table` needs pandas, and appends to an old one."""
    run.log_text(_csv(columns, rows), f"{_NOT_ALLOWED.sub('_', key)}-{step:08d}.csv")


def _csv(columns: Sequence[str], rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def _log_config(run: ModuleType, config: Config) -> None:
    run.log_params(dict(config))


MLFLOW = Tracker(
    "mlflow",
    "MLflowCallback",
    run=_run,
    log_image=_log_image,
    log_table=_log_table,
    log_config=_log_config,
)
