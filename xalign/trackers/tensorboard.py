"""TensorBoard."""

from collections.abc import Sequence
from typing import Any, Protocol

from transformers.trainer_callback import TrainerCallback

from xalign.escape import markdown
from xalign.trackers.tracker import Pixels, Rows, Tracker


class SummaryWriter(Protocol):
    """What is used of a `torch.utils.tensorboard.SummaryWriter`, or of tensorboardX's."""

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


def _markdown(columns: Sequence[str], rows: Rows) -> str:
    return "\n".join([_line(columns), f"|{' --- |' * len(columns)}", *map(_line, rows)])


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(_shown, cells))} |"


def _shown(cell: object) -> str:
    if cell is None:
        return "–"
    # A bar would end the cell, even where it is escaped; TensorBoard shows HTML and Markdown.
    return f"{cell:.3f}" if isinstance(cell, float) else markdown(str(cell).replace("|", "∣"))


TENSORBOARD = Tracker("tensorboard", "TensorBoardCallback", _run, _log_image, _log_table)
