"""The residual stream of a block: from its output back to its input, and what is added on the way."""

from collections.abc import Iterator
from dataclasses import dataclass

from xalign.model.architectures.graph import Call, Node, Trace
from xalign.model.architectures.operations import ADDITIONS, CASTS, FACTORS, MASKS, MIXERS, MOVES, NORMS


class OffStream(Exception):  # noqa: N818
    """Why the stream of a block could not be followed."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The residual stream of one block.

    Attributes:
        start: The operation that gives the input of the block.
        end: The operation that gives its output.
        states: The states of the stream on the way, the last one first.
        addends: What is added to it, in the order of the forward.
    """

    start: int
    end: int
    states: tuple[int, ...]
    addends: tuple[int, ...]


def carried(trace: Trace, node: Node) -> list[int]:
    """Return the inputs of an operation that a stream may come from: of sums, norms, factors and moves.

    A factor may be a weight, a number, or one value for each token. Other operations carry no stream.
    """
    if node.projection is not None:
        return []
    states = [index for index in trace.data_inputs(node) if trace.nodes[index].is_states]
    wide = [index for index in states if not _is_one_per_token(trace.nodes[index])]
    if node.operation == "norm" or node.operation in NORMS:
        return states[:1]
    if node.operation in ADDITIONS:
        return wide
    if node.operation in MOVES | CASTS | MASKS | FACTORS and len(wide) == 1:
        return wide
    return []


def _is_one_per_token(node: Node) -> bool:
    return not node.shape or node.shape[-1] == 1


def follow(trace: Trace, start: int, end: int) -> Stream:
    """Follow a stream from the output of a block back to its input.

    Raises:
        OffStream: Something else than a sum, a norm or a factor stands on it, or it is lost.
    """
    carries = _Carries(trace, start)
    states, addends, here = [end], [], end
    while here != start:
        node = trace.nodes[here]
        inputs = carried(trace, node)
        if not inputs or here < start:
            raise OffStream(f"{trace.where(node)} stands on the stream")
        if len(inputs) == 1:
            here = inputs[0]
        else:
            on = [index for index in inputs if carries(index)]
            if len(on) != 1:
                which = "none" if not on else "more than one"
                raise OffStream(f"of what {trace.where(node)} adds, {which} is the stream")
            addends += [index for index in inputs if index != on[0]]
            here = on[0]
        states.append(here)
    return Stream(start, end, tuple(states), tuple(reversed(addends)))


class _Carries:
    """Whether an operation carries the stream that begins at a block's input."""

    def __init__(self, trace: Trace, start: int) -> None:
        self._trace, self._known = trace, {start: True}

    def __call__(self, index: int) -> bool:
        if index not in self._known:
            self._known[index] = False
            inputs = carried(self._trace, self._trace.nodes[index])
            self._known[index] = any(self(one) for one in inputs)
        return self._known[index]


@dataclass(frozen=True, slots=True)
class Tap:
    """A module whose output is added to the stream, perhaps times a factor.

    Attributes:
        call: Its call.
        node: The operation that gives its output.
        factors: What the output is multiplied by before it is added.
    """

    call: Call
    node: int
    factors: tuple[str, ...] = ()


def taps_of(trace: Trace, block: Call, addend: int, factors: tuple[str, ...] = ()) -> list[Tap]:
    """Return the modules whose outputs an addend is the sum of.

    `factors` is what lies between the addend and the sum.

    Where several modules return the very same tensor, the last to do so is taken: in training, a dropout may
    stand between the others and the stream.

    Raises:
        OffStream: What is added is the output of no module.
    """
    calls = [call for call in trace.returning(addend) if block.contains(call)]
    if calls:
        return [Tap(calls[-1], addend, factors)]
    node = trace.nodes[addend]
    inputs = [] if node.operation in NORMS else carried(trace, node)
    if not inputs or not block.encloses(addend):
        raise OffStream(f"what {trace.where(node)} gives is added, which is the output of no module")
    if node.operation in FACTORS:
        factors = (*factors, *filter(None, [_factor(trace, node)]))
    return [tap for index in inputs for tap in taps_of(trace, block, index, factors)]


def _factor(trace: Trace, node: Node) -> str:
    """Name what an operation multiplies or divides by; empty if by 1."""
    for one in node.args:
        if isinstance(one, int | float):
            if one == 1:
                return ""
            return f"{one:g}" if node.operation == "mul" else f"1/{one:g}"
    weights = [trace.nodes[index] for index in node.inputs if trace.nodes[index].operation == "weight"]
    return str(weights[0].args[0]).rpartition(".")[2] if weights else "a factor of each token"


def contributors(trace: Trace, block: Call, addend: int) -> tuple[list[int], set[int]]:
    """Return the projections and experts of a block that an addend is the sum of, over norms and factors.

    Returns:
        The projections and experts, and the operations between them and the addend, with the addend.
    """
    found: set[int] = set()
    passed: set[int] = set()
    waiting = [addend]
    while waiting:
        index = waiting.pop()
        if index in passed or not block.encloses(index):
            continue
        node = trace.nodes[index]
        if node.projection is not None or node.operation == "experts":
            found.add(index)
            continue
        passed.add(index)
        waiting += carried(trace, node) or _summed(trace, node)
    return sorted(found), passed


def _summed(trace: Trace, node: Node) -> list[int]:
    """Return the states that an operation adds up by an index, as mixtures of experts do."""
    if node.operation in ("index_add", "scatter_add", "index_put", "setitem", "sum", "stack", "cat"):
        return [index for index in trace.data_inputs(node) if trace.nodes[index].is_states]
    return []


def mixes_tokens(trace: Trace, found: list[Node]) -> bool:
    """Return whether the operations behind a tap are known to compute with several tokens at once."""
    return any(is_mixer(trace, node) for node in found)


def unseen_modules(trace: Trace, block: Call, found: list[Node]) -> list[str]:
    """Return the innermost modules of a block that make something behind a tap which torch does not show.

    That is what a kernel computes as a function of its own.
    """
    paths = []
    for node in found:
        if node.operation == "given" and block.encloses(node.index):
            returned = [call for call in trace.returning(node.index) if block.contains(call)]
            around = [call for call in trace.calls if block.contains(call) and call.encloses(node.index)]
            paths += [call.path for call in (*returned, *around)[:1]]
    return list(dict.fromkeys(paths))


def is_mixer(trace: Trace, node: Node) -> bool:
    """Return whether an operation is known to put several tokens into one value."""
    if node.projection is not None:
        return False
    is_product = node.operation in ("matmul", "bmm", "baddbmm", "einsum", "mm", "addmm")
    return node.operation in MIXERS or (is_product and len(trace.data_inputs(node)) > 1)


def behind(trace: Trace, stream: Stream, tap: int) -> Iterator[Node]:
    """Yield the operations between the stream and a tap."""
    seen = set(stream.states)
    waiting = [tap]
    while waiting:
        index = waiting.pop()
        if index in seen or index < stream.start:
            continue
        seen.add(index)
        node = trace.nodes[index]
        yield node
        waiting += node.inputs
