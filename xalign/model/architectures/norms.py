"""Which module calls are norms: by what they compute."""

from xalign.model.architectures.graph import Call, Node, Trace
from xalign.model.architectures.operations import is_part_of_norm, reduces_rows

_LONGEST = 40  # operations; a norm written by hand has about ten


def is_norm(trace: Trace, call: Call, output: int) -> bool:
    """Return whether a module call computed a norm: of each token alone, without projections.

    A norm takes each token's states, a statistic of them, and weights. That is a norm of torch, or a
    reduction over the last dimension with arithmetic around it.

    Args:
        trace: The trace up to the end of the call.
        call: The call.
        output: The states that it returned.
    """
    made = trace.nodes[output]
    if call.input is None or output < call.start or len(trace.nodes) - call.start > _LONGEST:
        return False
    if made.shape != trace.nodes[call.input].shape or not made.is_states:
        return False
    inside, outside = _between(trace, call, output)
    return (
        outside == {call.input}
        and any(reduces_rows(node.operation) for node in inside)
        and all(is_part_of_norm(node.operation, len(made.shape), node.args, node.kwargs) for node in inside)
    )


def _between(trace: Trace, call: Call, output: int) -> tuple[list[Node], set[int]]:
    """Return the operations of a call that its output depends on, and what they take from outside of it."""
    inside: dict[int, Node] = {}
    outside: set[int] = set()
    waiting = [output]
    while waiting:
        index = waiting.pop()
        if index < call.start:
            outside.add(index)
        elif index not in inside:
            inside[index] = trace.nodes[index]
            waiting += trace.data_inputs(trace.nodes[index])
    return list(inside.values()), outside
