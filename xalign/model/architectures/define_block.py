"""`BlockDefinition`: what one block of a trace is made of, as claims that can be proved."""

from contextlib import suppress
from dataclasses import replace

from torch import nn

from xalign.model.architectures.axes import axes_of
from xalign.model.architectures.claims import BlockClaim, NetworkClaim, Spot, StreamClaim
from xalign.model.architectures.expert_claims import experts_in, why_no_experts
from xalign.model.architectures.graph import Call, Node, Trace
from xalign.model.architectures.heads import Head, check_tokens_stay
from xalign.model.architectures.neurons import Network, NoNetwork, network_of
from xalign.model.architectures.operations import ADDITIONS, CASTS, FACTORS
from xalign.model.architectures.per_token import acts_per_token
from xalign.model.architectures.program import NotReplayable, Program, Weights
from xalign.model.architectures.sites import EXPERT_KINDS
from xalign.model.architectures.state_size import size_of, spot_of
from xalign.model.architectures.stream import (
    OffStream,
    Stream,
    Tap,
    behind,
    contributors,
    follow,
    is_mixer,
    mixes_tokens,
    taps_of,
    unseen_modules,
)

NO_NETWORK = "it has no feed-forward network"
# Of each value alone, or of each token: projections and norms are single operations here.
_OF_ONE = ADDITIONS | FACTORS | CASTS | {"norm", "dropout", "gelu", "silu", "relu", "tanh", "sigmoid", "pow"}
# Put states at places that an index or a mask says.
_BY_INDEX = frozenset({"index_add", "scatter_add", "index_put", "setitem", "index_copy", "masked_scatter"})


class BlockDefinition:
    """What one block is made of.

    Args:
        trace: A forward of the model.
        call: The call of the block.
        lines: Number of sentences in the forward.
        weights: Path -> parameter or buffer, in float64.
    """

    def __init__(self, trace: Trace, call: Call, lines: int, weights: Weights) -> None:
        self._trace, self._call, self._weights = trace, call, weights
        self._size = size_of(trace, call, lines)
        self._refused: dict[str, str] = {}
        self._unseen: list[str] = []

    def block(self, number: int) -> BlockClaim:
        """Return what is claimed of the block.

        Args:
            number: Which of the calls of this module it is, from 0.
        """
        trace, call = self._trace, self._call
        start, end = call.input, call.output
        if start is None or end is None:
            raise LookupError("a block takes and gives states")
        stream: Stream | None = None
        try:
            stream = follow(trace, start, end)
        except OffStream as reason:
            self._refused |= dict.fromkeys(("attn_out", "mlp_out"), str(reason))
        networks = self._networks((end,) if stream is None else stream.addends)
        claims = [claim for claim in map(self._claim_of, networks) if claim is not None]
        experts = [one for one in trace.calls if one.path and call.contains(one) and self._is_experts(one)]
        added = None if stream is None else self._stream(stream, {one.down for one in networks})
        hidden = spot_of(trace, end, call.path, self._size)
        if hidden is None:
            self._refused["hidden"] = "its output does not hold one row per token"
        why, said = "" if experts else why_no_experts(call.module), self._refused.get("inner", "")
        if claims:
            self._refused.pop("inner", None)
        elif experts:
            self._refused["inner"] = "its feed-forward network is a mixture of experts"
        elif why:
            if added is not None and not added.mlp_out:
                self._refused["mlp_out"] = why
            seen = "" if said.startswith(NO_NETWORK) or not said else f"; {said}"
            self._refused["inner"] = f"its feed-forward network is a mixture of experts, and {why}{seen}"
        elif added is not None and added.attn_out and not (added.mlp_out or added.others):
            if not said.startswith(NO_NETWORK):
                self._refused["inner"] = f"{NO_NETWORK}: what is added is of several tokens ({said})"
        else:
            self._refused.setdefault("inner", NO_NETWORK)
        if not any(claim.gate for claim in claims):
            no_gate = next((claim.no_gate for claim in claims), self._refused.get("inner", ""))
            self._refused["gate"] = no_gate
        if why:
            self._refused |= dict.fromkeys(EXPERT_KINDS, why)
        return BlockClaim(call.path, number, hidden, tuple(claims), added, experts_in(experts), self._refused)

    def _is_experts(self, call: Call) -> bool:
        made = None if call.output is None else self._trace.nodes[call.output]
        return made is not None and made.operation == "experts" and made.call is call

    def _networks(self, addends: tuple[int, ...]) -> list[Network]:
        """Return the networks whose down projections give what is added to the stream.

        Where there are none, those that add to what another projection adds: a bottleneck may lead from a
        narrower stream within the block to that around it.
        """
        found, reasons = self._networks_of(addends)
        if not found:
            made = [node for one in addends for node in contributors(self._trace, self._call, one)[0]]
            found, _ = self._networks_of(
                tuple(node for one in made for node in self._trace.nodes[one].inputs[:1])
            )
        if reasons and not found:
            # That of attention last: it says nothing of a network.
            ordered = sorted(reasons.items(), key=lambda one: _is_of_several(one[1]))
            said = "; ".join(f"{path}: {reason}" for path, reason in ordered)
            if all(map(_is_of_several, reasons.values())):
                said = f"{NO_NETWORK}: what is added is of several tokens ({said})"
            self._refused["inner"] = said
        return found

    def _networks_of(self, addends: tuple[int, ...]) -> tuple[list[Network], dict[str, Exception]]:
        """Return the networks that add to some states, and why other projections that do so have none."""
        found: dict[int, Network] = {}
        reasons: dict[str, Exception] = {}
        for addend in addends:
            projections, path = contributors(self._trace, self._call, addend)
            for down in projections:
                projection = self._trace.nodes[down].projection
                if projection is None or down in found:
                    continue
                try:
                    self._check_not_chosen(down, path)
                    check_tokens_stay(self._trace, down, path, addend, self._size.dim, self._weights)
                    found[down] = network_of(self._trace, down, self._call, self._weights)
                except (NoNetwork, NotReplayable) as reason:
                    reasons[projection.path or self._trace.where(self._trace.nodes[down])] = reason
        return [found[down] for down in sorted(found)], reasons

    def _check_not_chosen(self, down: int, path: set[int]) -> None:
        """Check that what a projection gives is not put at tokens that the model chooses, as experts' is."""
        for index in path:
            node = self._trace.nodes[index]
            inputs = [self._trace.nodes[one] for one in self._trace.data_inputs(node)]
            is_choice = node.operation in _BY_INDEX and any(not one.is_states for one in inputs)
            if is_choice and down in contributors(self._trace, self._call, index)[0]:
                raise NoNetwork(f"{self._trace.where(node)} puts it at some tokens only, as of an expert")

    def _claim_of(self, network: Network) -> NetworkClaim | None:
        try:
            return self._network(network)
        except NotReplayable as reason:
            self._refused["inner"] = str(reason)
            return None

    def _network(self, network: Network) -> NetworkClaim | None:
        """Return a network as a claim; None, with the reason noted, where its places cannot be read."""
        trace, projection = self._trace, self._trace.projection(network.down)
        inner_shape = trace.nodes[network.inner].shape
        axes = axes_of(inner_shape, projection.dim, self._size.lines, self._size.tokens)
        down = self._once(network.down)
        if down is None or axes is None:
            self._refused["inner"] = (
                f"{projection.path or trace.where(trace.nodes[network.down])} is not a module that runs "
                "once on each token"
            )
            return None
        gate, activated = network.gate, network.activated
        heads = sorted(network.heads, key=lambda head: head is not gate)
        spots = {head: self._head(head) for head in heads}
        unread = [head for head, spot in spots.items() if spot is None]
        if unread:
            where = trace.where(trace.nodes[unread[0].source])
            self._refused["inner"] = f"{where} is not a module that runs once on each token"
            return None
        starts = [head.node for head in heads]
        activation, combine = None, Program(trace, starts, network.inner)
        if gate is not None and activated is not None:
            # Where the gate is used beside its activation too, the activation alone is not seen.
            with suppress(NotReplayable):
                combine = Program(trace, [activated, *starts[1:]], network.inner)
                activation = Program(trace, [gate.node], activated)
        return NetworkClaim(
            inner=Spot(projection.path, "input", projection.width_in, axes),
            down=down,
            gate=None if gate is None else spots[gate],
            others=tuple(spot for head, spot in spots.items() if head is not gate and spot is not None),
            activation=activation,
            combine=combine,
            activation_path="" if activation is None else self._activation_path(network),
            no_gate=network.no_gate,
        )

    def _once(self, source: int) -> Spot | None:
        """Return the output of a projection that is a module, called once in this block, on each token."""
        path = self._trace.projection(source).path
        if not path or len(self._trace.calls_of(path, self._call)) != 1:
            return None
        return spot_of(self._trace, source, path, self._size)

    def _head(self, head: Head) -> Spot | None:
        spot = self._once(head.source)
        if spot is None or head.columns is None:
            return spot
        width = len(range(spot.width)[head.columns])
        return Spot(spot.path, spot.side, width, spot.axes, head.columns)

    def _activation_path(self, network: Network) -> str:
        """Return the module that is the activation function; empty where a function is."""
        if network.gate is None or network.activated is None:
            return ""
        for call in self._trace.returning(network.activated):
            if call.input == network.gate.node and not isinstance(call.module, nn.Dropout):
                return call.path
        return ""

    def _kind_of(self, stream: Stream, tap: Tap, downs: set[int]) -> str:
        """Return what a tap adds: `mlp_out` if a network or experts give it, `attn_out` if tokens are mixed.

        What is neither, and computed from each token alone, is one of the `others`.

        Raises:
            OffStream: It adds attention and a network as one, or what is neither for certain.
        """
        made, _ = contributors(self._trace, self._call, tap.node)
        found = list(behind(self._trace, stream, tap.node))
        has_network = any(one in downs for one in made)
        is_hidden = not has_network and any(node.index in downs for node in found)
        if is_hidden or (has_network and self._is_of_several(stream, tap, found)):
            raise OffStream(
                f"what {tap.call.path} adds comes from a feed-forward network and from several tokens"
            )
        if has_network or any(self._trace.nodes[one].operation == "experts" for one in made):
            return "mlp_out"
        if mixes_tokens(self._trace, found):
            return "attn_out"
        unseen = unseen_modules(self._trace, self._call, found)
        if unseen:  # the proof asks them
            self._unseen += unseen
            return "attn_out"
        try:
            is_alone = acts_per_token(
                self._trace, self._call, stream.states, tap.node, self._weights, self._size
            )
        except NotReplayable as reason:
            raise OffStream(
                f"what {tap.call.path} adds is no feed-forward network that is proved, and is not known to "
                f"be computed from several tokens ({reason})"
            ) from None
        return "others" if is_alone else "attn_out"

    def _is_of_several(self, stream: Stream, tap: Tap, found: list[Node]) -> bool:
        """Return whether what a network adds is seen to be computed from several tokens."""
        if any(is_mixer(self._trace, node) for node in found):
            return True
        if all(node.operation in _OF_ONE or node.projection is not None for node in found if node.depends):
            return False
        try:
            return not acts_per_token(
                self._trace, self._call, stream.states, tap.node, self._weights, self._size
            )
        except NotReplayable:  # the network itself was shown to act on each token alone
            return False

    def _spot_of(self, tap: Tap) -> Spot:
        """Return the output of a tap, and which of the calls of its module in the block gives it."""
        spot = spot_of(self._trace, tap.node, tap.call.path, self._size)
        if spot is None:
            raise OffStream(f"what {tap.call.path} adds does not hold one row per token")
        calls = sorted(self._trace.calls_of(tap.call.path, self._call), key=lambda call: call.start)
        return replace(spot, call=calls.index(tap.call), calls=len(calls))

    def _stream(self, stream: Stream, downs: set[int]) -> StreamClaim | None:
        trace = self._trace
        added: dict[str, list[tuple[Tap, Spot]]] = {"attn_out": [], "mlp_out": [], "others": []}
        try:
            for tap in [tap for one in stream.addends for tap in taps_of(trace, self._call, one)]:
                added[self._kind_of(stream, tap, downs)].append((tap, self._spot_of(tap)))
            taps = [tap for taps in added.values() for tap in taps]
            fold = Program(trace, [stream.start, *(tap.node for tap, _ in taps)], stream.end)
        except (OffStream, NotReplayable) as reason:
            self._refused |= dict.fromkeys(("attn_out", "mlp_out"), str(reason))
            return None
        for kind in ("attn_out", "mlp_out"):
            if not added[kind]:
                self._refused[kind] = "it adds nothing of this kind to the stream"
        factors = {tap.call.path: " · ".join(tap.factors) for tap, _ in taps if tap.factors}
        attn_out, mlp_out, others = (tuple(spot for _, spot in spots) for spots in added.values())
        return StreamClaim(attn_out, mlp_out, fold, factors, others, tuple(self._unseen))


def _is_of_several(reason: Exception) -> bool:
    return isinstance(reason, NoNetwork) and reason.of_several
