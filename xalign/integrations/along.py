"""`Along`: measure along a loop that is not a trainer of transformers: start, cadence, evaluations, end."""

from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean
from xalign.errors import ArgumentError
from xalign.integrations.section import NAME, Section

# What the callback of a trainer of transformers does by itself, and a loop cannot.
_OF_TRAINERS = ("keep_best", "heatmap_every", "log_text")


class Along:
    """A section, followed along a loop.

    Args:
        section: What to measure.
        model: The model, as it is called.
        tokenizer: Its tokenizer.
        folder: Where the run is kept.

    Raises:
        ArgumentError: `align`, or a key that only `AlignmentCallback` can follow.
    """

    def __init__(
        self, section: Section, model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: str | Path
    ) -> None:
        values = dict(section.values)
        refused = [key for key in (*_OF_TRAINERS, "align") if values.get(key)]
        if refused:
            raise ArgumentError(
                f"{NAME}: {refused[0]} needs a trainer of transformers or TRL. In another loop, "
                "AlignmentObjective trains and AlignmentMonitor measures"
            )
        moments = (boolean(key, values.pop(key, True)) for key in ("at_evaluate", "at_start", "at_end"))
        self.at_evaluate, self.at_start, self.at_end = moments
        left = {key: value for key, value in values.items() if key not in _OF_TRAINERS}
        self.monitor = Section(left).monitor(model, tokenizer, folder)
        self.monitor.measurement.probe()
        if self.monitor.is_first_process:
            print(self.monitor.cost_line)  # noqa: T201
        self._last: int | None = None

    def start(self, n: int) -> dict[str, float]:
        """Begin where the loop stands, after n training steps; measure there if it is the very start."""
        self.monitor.begin(n)
        return self._measure(n) if self.at_start and n == 0 else {}

    def step(self, n: int) -> dict[str, float]:
        """Measure after n training steps, if that is due."""
        return self._measure(n) if n > 0 and self.monitor.cadence.is_due(n) else {}

    def evaluate(self, n: int) -> dict[str, float]:
        """Measure beside an evaluation."""
        return self._measure(n) if self.at_evaluate else {}

    def end(self, n: int) -> dict[str, float]:
        """Measure at the end, and write what could not be written before."""
        values = self._measure(n) if self.at_end else {}
        self.monitor.complete()
        return values

    def _measure(self, n: int) -> dict[str, float]:
        """Return what to log, under keys such as `nasca_deu_Latn`; nothing where n is measured already."""
        if self._last == n:
            return {}
        self._last = n
        return {} if self.monitor.measure(n) is None else self.monitor.scalars
