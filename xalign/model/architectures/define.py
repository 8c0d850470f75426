"""`define`: what a trace shows of a model, as claims that can be proved."""

from xalign.model.architectures.blocks import holder_of, stacks_of
from xalign.model.architectures.claims import BlockClaim, Spot, StackClaim
from xalign.model.architectures.define_block import BlockDefinition
from xalign.model.architectures.graph import Call, Trace
from xalign.model.architectures.program import Weights
from xalign.model.architectures.state_size import size_of, spot_of


def define(trace: Trace, lines: int, weights: Weights) -> list[StackClaim]:
    """Find the stacks of a traced model, and in each block what fulfils the definitions.

    Args:
        trace: A forward of the model.
        lines: Number of sentences in it.
        weights: Path -> parameter or buffer, in float64.

    Returns:
        The stacks that hold feed-forward networks or experts; where none does, those whose blocks add to a
        residual stream, or at least pass one on. In the order of the forward.
    """
    stacks = stacks_of(trace)
    found: dict[str, tuple[BlockClaim, ...]] = {}
    for path, calls in stacks.items():
        counts: dict[str, int] = {}
        blocks = []
        for call in calls:
            number = counts.get(call.path, 0)
            counts[call.path] = number + 1
            blocks.append(BlockDefinition(trace, call, lines, weights).block(number))
        found[path] = tuple(blocks)
    kept = [path for path, blocks in found.items() if any(one.networks or one.experts for one in blocks)]
    kept = kept or [path for path, blocks in found.items() if any(one.stream is not None for one in blocks)]
    kept = kept or [path for path, calls in stacks.items() if _is_chain(calls)]
    result = []
    for path in kept:
        others = [call for other in kept if other != path for call in stacks[other]]
        holder = holder_of(trace, stacks[path], others)
        final = _final(trace, stacks[path], holder, lines)
        result.append(StackClaim(path, found[path], final, "" if holder is None else holder.path))
    return result


def _is_chain(calls: list[Call]) -> bool:
    """Return whether each block takes what the one before gave."""
    pairs = list(zip(calls, calls[1:], strict=False))
    return bool(pairs) and all(one.output == after.input for one, after in pairs)


def _final(trace: Trace, blocks: list[Call], holder: Call | None, lines: int) -> Spot | None:
    """Return where the final state is: what the model around the blocks returns, and its module."""
    last = blocks[-1]
    if last.output is None:
        return None
    node = _normed(trace, last) if holder is None else holder.output
    node = last.output if node is None else node
    size = size_of(trace, last, lines)
    if trace.before_moves(node) == trace.before_moves(last.output):
        return spot_of(trace, last.output, last.path, size)
    for made in (node, trace.before_moves(node)):
        calls = [call for call in trace.returning(made) if call.start >= last.end and call is not holder]
        spot = spot_of(trace, made, calls[0].path, size) if calls else None
        if spot is not None:
            return spot
    return None if holder is None else spot_of(trace, node, holder.path, size)


def _normed(trace: Trace, last: Call) -> int | None:
    """Return what a norm makes of the output of the last block, where no model says what it returns."""
    calls = (call for call in trace.calls if call.start >= last.end and call.input == last.output)
    made = (call.output for call in calls if call.output is not None)
    return next((node for node in made if trace.nodes[node].operation == "norm"), None)
