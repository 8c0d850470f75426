"""The stacks of a traced model: lists of modules that take states and give states of the same shape."""

from torch import nn

from xalign.model.architectures.graph import Call, Trace

_LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
_FEWEST = 2  # dimensions of states: rows of tokens


def stacks_of(trace: Trace) -> dict[str, list[Call]]:
    """Return the calls of blocks, by the path of the list that they are in, in the order of the forward.

    A block is an item of a list that takes states first and returns states of the same shape. Items inside an
    item are parts of a block.
    """
    lists = {path for path, module in trace.model.named_modules() if isinstance(module, _LISTS)}
    stacks: dict[str, list[Call]] = {}
    for call in sorted(trace.calls, key=lambda one: one.start):
        if _is_block(trace, call, lists) and not _is_within_block(trace, call, lists):
            stacks.setdefault(call.path.rpartition(".")[0], []).append(call)
    return stacks


def _is_block(trace: Trace, call: Call, lists: set[str]) -> bool:
    if (
        call.path.rpartition(".")[0] not in lists
        or not call.path
        or call.input is None
        or call.output is None
    ):
        return False
    given, made = trace.nodes[call.input], trace.nodes[call.output]
    if not (given.is_states and made.is_states and given.shape == made.shape):
        return False
    return call.input != call.output and len(made.shape) >= _FEWEST and call.encloses(call.output)


def _is_within_block(trace: Trace, call: Call, lists: set[str]) -> bool:
    parent = call.parent
    while parent is not None:
        if _is_block(trace, parent, lists):
            return True
        parent = parent.parent
    return False


def holder_of(trace: Trace, blocks: list[Call], others: list[Call]) -> Call | None:
    """Return the outermost call that ran one stack alone, and returned states as a model does.

    Args:
        trace: The trace.
        blocks: The blocks of the stack.
        others: The blocks of all other stacks.
    """
    holders = [
        call
        for call in trace.calls
        if call.returns_states
        and all(call.contains(block) for block in blocks)
        and not any(call.contains(other) for other in others)
    ]
    return holders[-1] if holders else None
