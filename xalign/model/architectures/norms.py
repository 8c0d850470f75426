"""Which module calls are norms: by what they compute."""

from xalign.model.architectures.graph import Call, Trace
from xalign.model.architectures.operations import NORMS, is_part_of_norm, reduces_rows

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
    inside = [node for node in trace.nodes[call.start :] if node.depends]
    outside = {index for node in inside for index in trace.data_inputs(node) if index < call.start}
    return (
        outside == {call.input}
        and any(reduces_rows(node.operation) or node.operation in NORMS for node in inside)
        and all(is_part_of_norm(node.operation, len(made.shape), node.args, node.kwargs) for node in inside)
    )
