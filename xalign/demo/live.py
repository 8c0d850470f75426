"""The table that the demo keeps up to date while its model trains."""

from collections.abc import Callable
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from xalign.monitor.callback import AlignmentCallback
from xalign.results.report import AlignmentReport

COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("language", "left"),
    ("NASCA", "right"),
    ("95 %", "left"),
    ("floor", "right"),
    ("chance", "right"),
    ("", "left"),
)


class LiveTable(TrainerCallback):
    """Shows the last report of a run: a live table in a terminal, a line per report elsewhere.

    Args:
        console: Where to show it.
        callback: The callback whose reports are shown.
        steps: How many steps the run has.
    """

    def __init__(self, console: Console, callback: AlignmentCallback, steps: int) -> None:
        self._console, self._callback, self._steps = console, callback, steps
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._shown = 0
        self._loss: float | None = None

    def __enter__(self) -> "LiveTable":
        """Start to show reports."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, and leave the last table on the screen."""
        if self._live is not None:
            self._live.stop()
        elif self._callback.reports:
            self._console.print(self._table(self._callback.reports[-1]))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show a new report."""
        self._loss = (logs or {}).get("loss", self._loss)
        reports = self._callback.reports
        if len(reports) == self._shown:
            return
        self._shown = len(reports)
        if self._live is not None:
            self._live.update(self._table(reports[-1]), refresh=True)
        else:
            last = reports[-1]
            scores = ", ".join(f"{code} {last.score('nasca', code):.2f}" for code in last.languages)
            self._console.print(
                f"step {last.step} of {self._steps}: NASCA {last.score('nasca'):.3f} ({scores})"
                f"{self._shown_loss()}",
                highlight=False,
                soft_wrap=True,
            )

    def _shown_loss(self) -> str:
        """Return the loss as the end of a line; nothing before the first step, which has none."""
        return "" if self._loss is None else f", training loss {self._loss:.2f}"

    def _table(self, report: AlignmentReport) -> Table:
        title = f"step {report.step} of {self._steps}{self._shown_loss()}"
        table = Table(box=SIMPLE_HEAD, padding=0, title=title, title_justify="left")
        for header, justify in COLUMNS:
            table.add_column(header, justify=justify)
        for code in report.languages:
            low, high = report.interval("nasca", code)  # known, as for all shares
            score = report.score("nasca", code)
            table.add_row(
                code,
                f"{score:.3f}",
                f"[{low:.2f}, {high:.2f}]",
                f"{report.floor('nasca', code):.3f}",
                f"{report.chance('nasca', code):.3f}",
                "█" * round(30 * score),
            )
        table.add_row("mean", f"{report.score('nasca'):.3f}", "", f"{report.floor('nasca'):.3f}", "", "")
        return table


class SayDecisions(TrainerCallback):
    """Says each decision of a closed loop when it is made.

    Args:
        say: What says it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, 0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say what was decided since the last step."""
        for row in state.log_history[self._said :]:
            if "align_reason" in row:
                self._say(f"step {row['step']}: {row['align_reason']}")
        self._said = len(state.log_history)
