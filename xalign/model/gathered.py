"""`Gathered`: the pooled states of a whole side, batch by batch, on the CPU or where they were computed."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.model.architectures.sites import Reading
from xalign.model.batches import Batch
from xalign.model.on_cpu import on_cpu

Pooled = dict[Reading, Float[Tensor, "_ _"]]  # widths differ between sites, and sizes between batches


class Gathered:
    """Puts the pooled states of batches into the rows of the sentences that they belong to.

    Args:
        n: Number of sentences.
        widths: Reading -> number of values per sentence.
        on_device: Whether states from a CUDA device stay there. Where its memory does not suffice, all states
            go to the CPU.
    """

    def __init__(self, n: int, widths: Mapping[Reading, int], *, on_device: bool) -> None:
        self._n, self._widths, self._on_device = n, widths, on_device
        self._states: Pooled = {}
        if not on_device:
            self._allocate("cpu", widths)

    def add(self, batch: Batch, pooled: Pooled) -> None:
        """Copy the pooled states of a batch into the rows of the sentences that each line stands for.

        With `on_device`, the program does not wait for the device.
        """
        if self._on_device:
            self._make_room(pooled)
        if not self._on_device:
            pooled = on_cpu(pooled)
        rows = torch.tensor([row for group in batch.rows for row in group], device="cpu")
        lines = torch.tensor([line for line, group in enumerate(batch.rows) for _ in group], device="cpu")
        devices = {values.device for values in pooled.values()}
        places = {device: (_sent(rows, device), _sent(lines, device)) for device in devices}
        repeats = len(lines) > len(batch.rows)
        for reading, values in pooled.items():
            to, of = places[values.device]
            self._states[reading].index_copy_(0, to, values[of] if repeats else values)

    def states(self) -> Pooled:
        """Return reading -> states [pair, width] in float32; zeros where nothing was added."""
        self._allocate("cpu", self._widths.keys() - self._states.keys())
        return {reading: self._states[reading] for reading in self._widths}

    def _make_room(self, pooled: Pooled) -> None:
        """Make the tensors of readings that have none yet; on the CPU if there is no room for them."""
        try:
            for reading, values in pooled.items():
                if reading not in self._states:
                    self._allocate(values.device if values.device.type == "cuda" else "cpu", [reading])
        except torch.OutOfMemoryError:
            self._on_device = False
            self._states = on_cpu(self._states)
            self._allocate("cpu", self._widths.keys() - self._states.keys())

    def _allocate(self, where: torch.device | str, readings: Iterable[Reading]) -> None:
        for reading in readings:
            size = (self._n, self._widths[reading])
            self._states[reading] = torch.zeros(size, dtype=torch.float32, device=where)


def _sent(indices: Tensor, device: torch.device) -> Tensor:
    """Return indices on a device, without waiting until they have arrived."""
    return indices.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else indices
