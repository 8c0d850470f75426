"""SwanLab: pictures and tables by step, settings in the run's config."""

from collections.abc import Sequence
from types import ModuleType

from transformers.trainer_callback import TrainerCallback

from xalign.plain_config import Config
from xalign.trackers.tracker import Pixels, Rows, Tracker


def _run(callback: TrainerCallback | None) -> ModuleType | None:  # noqa: ARG001
    """Return SwanLab's module, which logs to its current run."""
    import swanlab

    try:
        run = swanlab.get_run()
    except RuntimeError:  # from 0.10 on; before, None was returned where there is no run
        return None
    return None if run is None else swanlab


def _log_image(run: ModuleType, key: str, pixels: Pixels, step: int) -> None:
    run.log({key: run.Image(pixels)}, step=step)


def _log_table(run: ModuleType, key: str, columns: Sequence[str], rows: Rows, step: int) -> None:
    table = run.echarts.Table()
    table.add(list(columns), [list(row) for row in rows])
    run.log({key: table}, step=step)


def _log_config(run: ModuleType, config: Config) -> None:
    run.config.update(dict(config))


SWANLAB = Tracker(
    "swanlab",
    "SwanLabCallback",
    run=_run,
    log_image=_log_image,
    log_table=_log_table,
    log_config=_log_config,
)
