"""How the states of a stack are laid out: which of their dimensions are sentences, tokens and width."""

from dataclasses import dataclass

import torch

from xalign.model.architectures.axes import axes_of
from xalign.model.architectures.claims import Spot
from xalign.model.architectures.graph import Call, Trace
from xalign.model.architectures.stream import is_mixer

_BATCHED = 3  # dimensions of states [batch, token, width]


@dataclass(frozen=True, slots=True)
class StateSize:
    """How the states of a stack are laid out: sentences, tokens, and the dimension that holds the width."""

    lines: int
    tokens: int
    dim: int = -1


def size_of(trace: Trace, block: Call, lines: int) -> StateSize:
    """Tell sentences and tokens apart in the states of a block, by the sizes of what the model was given."""
    shape = trace.nodes[block.output].shape if block.output is not None else torch.Size()
    given = [trace.nodes[index].shape for call in trace.calls if call.parent is None for index in call.given]
    tokens = {one[1] for one in given if len(one) > 1}
    if len(shape) < _BATCHED:
        return StateSize(lines, shape[0] // lines if shape else 0)
    if len(shape) > _BATCHED:  # several streams side by side
        return StateSize(lines, next((one for one in tokens if one in shape), shape[1]))
    if shape[2] in tokens and shape[1] not in tokens and shape[0] not in tokens:
        return StateSize(shape[0], shape[2], dim=1)
    if shape[0] != lines and shape[1] == lines:
        return StateSize(lines, shape[0])
    is_text = bool(given) and not any(
        trace.nodes[index].is_states for call in trace.calls if call.parent is None for index in call.given
    )
    fewer = shape[1] < max(tokens, default=0)
    if is_text and shape[1] not in tokens and (fewer or not _come_from_tokens(trace, block.input)):
        return StateSize(shape[0], max(tokens, default=0))  # latents, or groups of tokens: no row is a token
    return StateSize(shape[0], shape[1])


def _come_from_tokens(trace: Trace, start: int | None) -> bool:
    """Return whether states lead back to the embeddings of tokens without computing with several of them.

    Some models add rows to those of the tokens. The latents of a Perceiver lead back to weights alone.
    """
    seen: set[int] = set()
    waiting = [] if start is None else [start]
    while waiting:
        node = trace.nodes[waiting.pop()]
        if node.index in seen or is_mixer(trace, node):
            continue
        seen.add(node.index)
        if node.operation == "embedding" and node.depends:
            return True
        waiting += trace.data_inputs(node)
    return False


def spot_of(trace: Trace, node: int, path: str, size: StateSize) -> Spot | None:
    """Return the output of a module as a spot; None where it does not hold one row per token."""
    shape = trace.nodes[node].shape
    projection = trace.nodes[node].projection
    dim = size.dim if projection is None else projection.dim
    axes = axes_of(shape, dim, size.lines, size.tokens)
    return None if axes is None else Spot(path, "output", shape[dim], axes)
