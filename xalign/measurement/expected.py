"""What a measurement will cost: its seconds, from one timed batch, and its memory."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from xalign.measurement.prepare import PreparedPairs
from xalign.metrics.cosine import cosine_matrix
from xalign.model.architectures.map import ModelMap
from xalign.model.architectures.sites import Reading
from xalign.model.batches import Batch
from xalign.model.encode import Encoded
from xalign.model.live_memory import LiveMemory
from xalign.model.placement import device_of
from xalign.model.read import read_states

_FLOAT32, _FLOAT64 = 4, 8  # bytes
_FEW, _MORE = 2, 4  # lines of the two forwards in which memory is counted


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a measurement takes at one time.

    Attributes:
        weights: Parameters and buffers of the model.
        forward: What a forward pass of the largest batch allocates on the model's device.
        states: The pooled states of the pivot and of one language. They are in main memory, and so are the
            next two.
        comparison: What comparing the states of one layer takes.
        floor: What computing the lexical floor of one language takes, before the first forward pass.
        in_one: Whether the model's device is main memory too.
    """

    weights: int
    forward: int
    states: int
    comparison: int
    floor: int
    in_one: bool

    @property
    def on_device(self) -> int:
        """The peak on the model's device."""
        if not self.in_one:
            return self.weights + self.forward
        return self.weights + max(self.states + max(self.forward, self.comparison), self.floor)

    @property
    def in_main(self) -> int:
        """The peak in main memory if the model is on another device, else 0."""
        return 0 if self.in_one else max(self.states + self.comparison, self.floor)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a measurement will cost.

    Attributes:
        forwards: Forwards of the model.
        tokens: Tokens run through it, padding included.
        largest: Lines and tokens of the largest batch.
        seconds: Wall-clock time of forwards and comparisons.
        memory: Memory at its peak.
    """

    forwards: int
    tokens: int
    largest: tuple[int, int]
    seconds: float
    memory: Memory


def expect(
    model: nn.Module,
    model_map: ModelMap,
    prepared: PreparedPairs,
    readings: Sequence[Reading],
    *,
    with_floor: bool,
) -> Expected:
    """Run one batch and a few lines of another, and estimate what all batches will cost.

    Args:
        model: The model.
        model_map: Where its sites are.
        prepared: The sentences.
        readings: What is read.
        with_floor: Whether lexical floors are computed.

    Raises:
        ModelError: As in `read_states`.
    """
    batches = [batch for side in prepared.runs() for batch in side.batches]
    largest = max(batches, key=lambda batch: batch.pooled.numel())
    memory = _memory(model, model_map, prepared, readings, largest, with_floor=with_floor)
    # The forwards in which memory was counted have also warmed everything up.
    seconds = _seconds_of_forwards(model, batches, readings)
    seconds += _seconds_of_comparisons(model_map, prepared.pairs.counts, readings)
    return Expected(len(batches), prepared.tokens, largest.shape, seconds, memory)


def _seconds_of_forwards(model: nn.Module, batches: Sequence[Batch], readings: Sequence[Reading]) -> float:
    """Time the batch of middle size, and take all others to need as long per token."""
    by_size = sorted(batches, key=lambda batch: batch.pooled.numel())
    timed = by_size[len(by_size) // 2]
    timed = timed.take(slice(None), [(line,) for line in range(timed.shape[0])])
    started = time.perf_counter()
    read_states(model, [timed], readings)
    seconds = time.perf_counter() - started
    return seconds * sum(batch.pooled.numel() for batch in batches) / timed.pooled.numel()


def _seconds_of_comparisons(
    model_map: ModelMap, counts: Mapping[str, int], readings: Sequence[Reading]
) -> float:
    """Time a comparison of as many sentences, once for each width."""
    largest, seconds = max(counts.values()), 0.0
    pairs_squared = sum(n * n for n in counts.values())
    widths = [model_map.place(reading.site).width for reading in readings]
    for width in set(widths):
        states = torch.ones(largest, width)
        started = time.perf_counter()
        cosine_matrix(states, states)
        took = time.perf_counter() - started
        seconds += took * widths.count(width) * pairs_squared / largest**2
    return seconds


def _memory(
    model: nn.Module,
    model_map: ModelMap,
    prepared: PreparedPairs,
    readings: Sequence[Reading],
    largest: Batch,
    *,
    with_floor: bool,
) -> Memory:
    """Add up what is held: by arithmetic, but for what a forward makes, which is counted in a small one."""
    n = max(prepared.pairs.counts.values())
    widths = [model_map.place(reading.site).width for reading in readings]
    # Of one layer: three tables of directions, and the similarities before and after rounding and of before.
    comparison = _FLOAT64 * (3 * n * max(widths) + 3 * n * n)
    tensors = {id(tensor.untyped_storage()): tensor for tensor in (*model.parameters(), *model.buffers())}
    return Memory(
        weights=sum(tensor.untyped_storage().nbytes() for tensor in tensors.values()),
        forward=_of_forward(model, largest, readings, sum(widths)),
        states=2 * _FLOAT32 * n * sum(widths),
        comparison=comparison,
        floor=_of_floor(prepared, n) if with_floor else 0,
        in_one=device_of(model).type == "cpu",
    )


def _of_forward(model: nn.Module, batch: Batch, readings: Sequence[Reading], width: int) -> int:
    """Count what two and four lines of a batch take, padded as in the batch, and add the others' share.

    What a forward makes grows by the same bytes with every line of the same length.
    """
    lines = batch.shape[0]

    def counted(count: int) -> int:
        chosen = [0, *range(lines - count + 1, lines)]  # the longest, and the shortest, which are padded
        part = batch.take(chosen, [(line,) for line in range(count)])
        with LiveMemory(device_of(model)) as memory:
            read_states(model, [part], readings)
        kept = count * width * _FLOAT32 if device_of(model).type == "cpu" else 0  # counted as states
        peak: int = memory.peak
        return peak - kept

    if lines <= _MORE:
        return counted(lines)
    few, more = counted(_FEW), counted(_MORE)
    return more + (lines - _MORE) * (more - few) // (_MORE - _FEW)


def _of_floor(prepared: PreparedPairs, n: int) -> int:
    """Return the bytes of token counts of both sides, of their directions, and of the similarities."""
    distinct = [
        len(
            {
                token
                for side in sides
                if isinstance(side.encoded, Encoded)
                for ids in side.encoded.pooled_ids
                for token in ids
            }
        )
        for sides in prepared.sides.values()
    ]
    return _FLOAT64 * (4 * n * max(distinct) + 2 * n * n)
