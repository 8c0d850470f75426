"""What an aligned trainer adds to its rows: running means between two of them."""

import torch
from torch import Tensor

from xalign.training.alignment_step import AlignmentStep

LANGUAGES_EVERY = 10


class AlignmentLog:
    """Running means between two rows, over every micro-batch of this process."""

    def __init__(self) -> None:
        self._means, self._accuracy = _Means(), _Means()
        self._rows = 0

    def add(self, step: AlignmentStep) -> None:
        """Add what one call of the objective saw."""
        if step.loss is not None:
            self._means.add("align_loss", step.loss)
        if step.in_batch is not None:
            for name in ("accuracy", "positive", "negative"):
                self._means.add(f"align_{name}", getattr(step.in_batch, name).mean())
            for code, accuracy in zip(step.codes, step.in_batch.accuracy, strict=True):
                self._accuracy.add(f"align_accuracy_{code}", accuracy)
        if step.replay_loss is not None:
            self._means.add("replay_loss", step.replay_loss)
        for name, value in step.guards.items():
            self._means.add(f"align_{name}", value)

    def add_task(self, loss: Tensor) -> None:
        """Add the task's own loss of a micro-batch."""
        self._means.add("task_loss", loss)

    def row(self) -> dict[str, float]:
        """Return the means since the last row, every tenth time with the accuracy per language."""
        row = self._means.take()
        if row:
            if self._rows % LANGUAGES_EVERY == 0:
                row |= self._accuracy.take()
            self._rows += 1
        return row


class _Means:
    """Means of what was added under each name. Sums stay on the device until they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, name: str, value: Tensor) -> None:
        total, count = self._sums.get(name, (torch.zeros_like(value), 0))
        self._sums[name] = total + value, count + 1

    def take(self) -> dict[str, float]:
        means = {name: (total / count).item() for name, (total, count) in sorted(self._sums.items())}
        self._sums.clear()
        return means
