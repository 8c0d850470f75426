"""`BlockDefinition`: what one block of a trace is made of, as claims that can be proved."""

from dataclasses import replace

from torch import nn

from xalign.model.architectures.axes import axes_of
from xalign.model.architectures.claims import BlockClaim, NetworkClaim, Spot, StreamClaim
from xalign.model.architectures.expert_claims import experts_in, why_no_experts
from xalign.model.architectures.graph import Call, Trace
from xalign.model.architectures.heads import Head, check_tokens_stay
from xalign.model.architectures.neurons import Network, NoNetwork, network_of
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
)


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
        if claims:
            self._refused.pop("inner", None)
        elif experts:
            self._refused["inner"] = "its feed-forward network is a mixture of experts"
        else:
            self._refused.setdefault("inner", "it has no feed-forward network")
        if not any(claim.gate for claim in claims):
            no_gate = next((claim.no_gate for claim in claims), self._refused.get("inner", ""))
            self._refused["gate"] = no_gate
        if not experts:
            self._refused |= dict.fromkeys(EXPERT_KINDS, why_no_experts(call.module))
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
            self._refused["inner"] = "; ".join(f"{path}: {reason}" for path, reason in reasons.items())
        return found

    def _networks_of(self, addends: tuple[int, ...]) -> tuple[list[Network], dict[str, str]]:
        """Return the networks that add to some states, and why other projections that do so have none."""
        found: dict[int, Network] = {}
        reasons: dict[str, str] = {}
        for addend in addends:
            projections, path = contributors(self._trace, self._call, addend)
            for down in projections:
                projection = self._trace.nodes[down].projection
                if projection is None or down in found:
                    continue
                try:
                    check_tokens_stay(self._trace, down, path, addend, self._size.dim, self._weights)
                    found[down] = network_of(self._trace, down, self._call, self._weights)
                except (NoNetwork, NotReplayable) as reason:
                    reasons[projection.path or self._trace.where(self._trace.nodes[down])] = str(reason)
        return [found[down] for down in sorted(found)], reasons

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
        activation = None
        starts = [head.node for head in heads]
        if gate is not None and activated is not None:
            activation = Program(trace, [gate.node], activated)
            starts[0] = activated
        return NetworkClaim(
            inner=Spot(projection.path, "input", projection.width_in, axes),
            down=down,
            gate=None if gate is None else spots[gate],
            others=tuple(spot for head, spot in spots.items() if head is not gate and spot is not None),
            activation=activation,
            combine=Program(trace, starts, network.inner),
            activation_path=self._activation_path(network),
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

        Raises:
            OffStream: It adds attention and a network as one, or what is neither for certain.
        """
        made, _ = contributors(self._trace, self._call, tap.node)
        found = list(behind(self._trace, stream, tap.node))
        has_network = any(one in downs for one in made)
        is_hidden = not has_network and any(node.index in downs for node in found)
        if is_hidden or (has_network and any(is_mixer(self._trace, node) for node in found)):
            raise OffStream(
                f"what {tap.call.path} adds comes from a feed-forward network and from several tokens"
            )
        if has_network or any(self._trace.nodes[one].operation == "experts" for one in made):
            return "mlp_out"
        if mixes_tokens(self._trace, found, stream):
            return "attn_out"
        raise OffStream(
            f"what {tap.call.path} adds is no feed-forward network that is proved, and is not known to be "
            "computed from several tokens"
        )

    def _spot_of(self, tap: Tap) -> Spot:
        """Return the output of a tap, and which of the calls of its module in the block gives it."""
        spot = spot_of(self._trace, tap.node, tap.call.path, self._size)
        if spot is None:
            raise OffStream(f"what {tap.call.path} adds does not hold one row per token")
        calls = sorted(self._trace.calls_of(tap.call.path, self._call), key=lambda call: call.start)
        return replace(spot, call=calls.index(tap.call), calls=len(calls))

    def _stream(self, stream: Stream, downs: set[int]) -> StreamClaim | None:
        trace = self._trace
        added: dict[str, list[tuple[Tap, Spot]]] = {"attn_out": [], "mlp_out": []}
        try:
            for tap in [tap for one in stream.addends for tap in taps_of(trace, self._call, one)]:
                added[self._kind_of(stream, tap, downs)].append((tap, self._spot_of(tap)))
            taps = [*added["attn_out"], *added["mlp_out"]]
            fold = Program(trace, [stream.start, *(tap.node for tap, _ in taps)], stream.end)
        except (OffStream, NotReplayable) as reason:
            self._refused |= dict.fromkeys(added, str(reason))
            return None
        for kind, spots in added.items():
            if not spots:
                self._refused[kind] = "it adds nothing of this kind to the stream"
        factors = {tap.call.path: " · ".join(tap.factors) for tap, _ in taps if tap.factors}
        attn_out, mlp_out = (tuple(spot for _, spot in added[kind]) for kind in ("attn_out", "mlp_out"))
        return StreamClaim(attn_out, mlp_out, fold, factors)
