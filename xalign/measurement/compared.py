"""`compared`: the states and cosines that metrics are computed from, moved to the CPU in few steps."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from xalign.metrics.cosine import cosine_matrix
from xalign.model.architectures.sites import Reading
from xalign.model.on_cpu import on_cpu
from xalign.model.read import States

# A reading, its cosine matrix [pair, pair], and the states of both sides, where they are wanted.
Compared = Iterator[tuple[Reading, Tensor, tuple[Tensor, Tensor]]]
_AT_ONCE = 64 << 20  # bytes of similarity matrices that wait on a device for each other


def compared(
    pivot: States, other: States, device: torch.device, with_states: Collection[Reading] = ()
) -> Compared:
    """Yield each reading with its cosine matrix [pair, pair], and with the states of both sides, on the CPU.

    On a CUDA device, cosines are computed there in float64, where that is fastest, and many of them are moved
    to the CPU at once, so that the program waits only a few times. On the CPU there is one matrix at a time.

    Args:
        pivot: Reading -> states [pair, width] of the pivot, on the CPU or on a device.
        other: The same for the other language.
        device: The device of the model.
        with_states: The readings whose states are wanted; both are empty for the others.

    Example:
        >>> reading, states = Reading(Site("hidden", 1)), torch.eye(2)
        >>> [(_, similarity, _)] = compared({reading: states}, {reading: states}, torch.device("cpu"))
        >>> similarity.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    on = device if device.type == "cuda" else torch.device("cpu")
    nothing = torch.empty(0, device="cpu")
    readings = list(other)
    size = 8 * max((len(states) for states in other.values()), default=1) ** 2
    step = 1 if on.type == "cpu" else max(1, _AT_ONCE // size)
    for start in range(0, len(readings), step):
        group = readings[start : start + step]
        similarities = on_cpu({one: cosine_matrix(pivot[one].to(on), other[one].to(on)) for one in group})
        wanted = [one for one in group if one in with_states]
        sides = [on_cpu({one: side[one] for one in wanted}) for side in (pivot, other)]
        for one in group:
            states = (sides[0][one], sides[1][one]) if one in with_states else (nothing, nothing)
            yield one, similarities[one], states
