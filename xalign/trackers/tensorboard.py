"""TensorBoard."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from transformers.trainer_callback import TrainerCallback

from xalign.escape import markdown
from xalign.plain_config import Config
from xalign.trackers.tracker import Pixels, Rows, Tracker


class SummaryWriter(Protocol):
    """The part of a `SummaryWriter`, of PyTorch or tensorboardX, that is used."""

    @property
    def file_writer(self) -> Any:
        """The object that accepts summaries as they are."""

    def add_image(self, tag: str, img_tensor: Pixels, global_step: int, *, dataformats: str) -> None:
        """Write a picture."""

    def add_text(self, tag: str, text_string: str, global_step: int) -> None:
        """Write a text, which TensorBoard reads as Markdown."""


def _run(callback: TrainerCallback | None) -> SummaryWriter | None:
    writer: SummaryWriter | None = getattr(callback, "tb_writer", None)
    return writer


def _log_image(run: SummaryWriter, key: str, pixels: Pixels, step: int) -> None:
    run.add_image(key, pixels, step, dataformats="HWC")


def _log_table(run: SummaryWriter, key: str, columns: Sequence[str], rows: Rows, step: int) -> None:
    run.add_text(key, _markdown(columns, rows), step)


def _log_config(run: SummaryWriter, config: Config) -> None:
    """Write a text, and the values for the tab HParams, beside the scalars of the same run.

    The writer's own `add_hparams` would make a run of its own for them.
    """
    run.add_text("alignment/config", _markdown(["setting", "value"], list(config.items())), 0)
    for kind in type(run).__mro__:  # torch's writer, tensorboardX's, or a class that derives from one
        if kind.__name__ == SummaryWriter.__name__:
            _, start, _ = _summaries_of(kind).hparams(dict(config), {})
            run.file_writer.add_summary(start)


def _summaries_of(kind: type) -> Any:
    """Return the module that makes summaries in the package that a writer's class is from."""
    return import_module(f"{kind.__module__.rpartition('.')[0]}.summary")


def _markdown(columns: Sequence[str], rows: Rows) -> str:
    return "\n".join([_line(columns), f"|{' --- |' * len(columns)}", *map(_line, rows)])


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(_shown, cells))} |"


def _shown(cell: object) -> str:
    if cell is None:
        return "–"
    # A bar would end the cell, even where it is escaped; TensorBoard shows HTML and Markdown.
    return f"{cell:.3f}" if isinstance(cell, float) else markdown(str(cell).replace("|", "∣"))


TENSORBOARD = Tracker(
    "tensorboard",
    "TensorBoardCallback",
    run=_run,
    log_image=_log_image,
    log_table=_log_table,
    log_config=_log_config,
)
