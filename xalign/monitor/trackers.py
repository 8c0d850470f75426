"""What trackers get beside the scalars that the trainer gives them: pictures, and tables."""

import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from transformers.trainer_callback import TrainerCallback

from xalign.errors import MissingExtraError
from xalign.results.report import AlignmentReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = "train/global_step"  # the step by which W&B's and trackio's charts of a trainer are drawn


class Trackers:
    """The trackers among a trainer's callbacks: W&B, trackio and TensorBoard.

    Nothing is logged where there is none, and by any process but the first: the trackers of the others hold
    no run.

    Args:
        callbacks: The trainer's callbacks.
    """

    def __init__(self, callbacks: Sequence[TrainerCallback]) -> None:
        self._callbacks = {type(callback).__name__: callback for callback in callbacks}
        self._has_said = False

    def heatmap(self, key: str, report: AlignmentReport, metric: str, step: int) -> None:
        """A layer × language picture of one metric, where there is a tracker and matplotlib."""
        live = self._live()
        if not live:
            return
        try:
            image = _pixels(report.figure(metric))
        except MissingExtraError as error:
            if not self._has_said:
                self._has_said = True
                warnings.warn(f"no heatmaps in the trackers: {error}", UserWarning, stacklevel=3)
            return
        for name, tracker in live.items():
            if name == "TensorBoardCallback":
                tracker.add_image(key, image, step, dataformats="HWC")
            else:
                tracker.log({key: tracker.Image(image), STEP: step})

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """A table, where there is a tracker."""
        for name, tracker in self._live().items():
            if name == "TensorBoardCallback":
                tracker.add_text(key, _markdown(columns, rows), step)
            else:
                data = [list(row) for row in rows]
                tracker.log({key: tracker.Table(columns=list(columns), data=data), STEP: step})

    def _live(self) -> dict[str, Any]:
        """Name -> module or writer, of trackers that have a run."""
        found: dict[str, Any] = {}
        if "WandbCallback" in self._callbacks:
            import wandb

            if wandb.run is not None:
                found["WandbCallback"] = wandb
        if "TrackioCallback" in self._callbacks:
            import trackio

            if trackio.context_vars.current_run.get() is not None:
                found["TrackioCallback"] = trackio
        writer = getattr(self._callbacks.get("TensorBoardCallback"), "tb_writer", None)
        if writer is not None:
            found["TensorBoardCallback"] = writer
        return found


def scores_table(report: AlignmentReport) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: each metric's score of each language with its interval, floor, chance, best layer.

    Example:
        >>> scores_table(report)[0][:3]
        ['metric', 'language', 'score']
    """
    columns = ["metric", "language", "score", "low", "high", "floor", "chance", "best layer"]
    rows = [
        [
            *(metric, language, report.score(metric, language), *report.interval(metric, language)),
            *(report.floor(metric, language), report.chance(metric, language)),
            str(report.best_layer(metric, language)),
        ]
        for metric in report.measured
        for language in report.languages
    ]
    return columns, rows


def worst_pairs_table(report: AlignmentReport, most: int = 10) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: per metric and language the pairs with the lowest scores, with their text.

    Example:
        >>> worst_pairs_table(report)[0]
        ['metric', 'language', 'id', 'score', 'pivot sentence', 'sentence']
    """
    rows: list[list[Any]] = [
        [metric, language, *pair]
        for metric in report.measured
        for language in report.languages
        for pair in report.worst_pairs(metric, language, most)
    ]
    return ["metric", "language", "id", "score", "pivot sentence", "sentence"], rows


def go_offline_without_login(report_to: Sequence[str]) -> str | None:
    """Has W&B keep its run on this machine where it has no login; returns the sentence that says so.

    Without a login, W&B asks for one, or ends a run that has no terminal.
    """
    if "wandb" not in report_to or find_spec("wandb") is None or os.environ.get("WANDB_MODE"):
        return None
    import wandb

    if wandb.run is not None or wandb.setup().settings.mode != "online" or _has_login():
        return None
    wandb.setup(wandb.Settings(mode="offline"))  # the variable counts no longer: W&B has read it
    return (
        "xalign: W&B has no login here, so its run is kept in ./wandb; `wandb sync` uploads it. Without an "
        "account, report_to='trackio' shows runs in the browser: pip install 'xalign[trackio]'"
    )


def _has_login() -> bool:
    """Whether W&B has a key or token for its host, as it looks for one itself, but asking nobody."""
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        found = wbauth.authenticate_session(
            host=wandb.setup().settings.base_url, source="xalign", prompt=False, update_session=False
        )
    except wandb.Error:  # one that is wrong: W&B says how
        return True
    return found is not None


def _pixels(figure: "Figure") -> UInt8[np.ndarray, "height width colour"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        shown = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
        return f"| {' | '.join(cell.replace('|', '∣') for cell in shown)} |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)])
