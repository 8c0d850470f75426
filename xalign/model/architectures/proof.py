"""`prove`: test what is claimed of a model by equations, in a forward on other inputs.

Every place is read by hooks, as `visit` reads it. The equations are computed from what was read alone: no
module is called, and no weight is read but that of a plain down projection.
"""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.architectures.claims import BlockClaim, NetworkClaim, Spot, StackClaim
from xalign.model.architectures.expert_proof import (
    ProvedExperts,
    Recorded,
    Unproved,
    check_experts,
    record_experts,
)
from xalign.model.architectures.mixing import mixes
from xalign.model.architectures.program import NotReplayable, Weights
from xalign.model.architectures.resident import projected, weights_of
from xalign.model.architectures.sites import EXPERT_KINDS
from xalign.model.hooks import Hook, hook_input, hook_output, remove_hooks
from xalign.model.module_values import input_of, output_of
from xalign.model.shadow import drop_shadows

NEURONS = "act(gate) · up = inner"
DOWN = "down(inner) = its output"
STREAM = "input, with attn_out and mlp_out added as traced = output"
CHAIN = "output of a block = input of the next"
# Relative, in units of the precision of the data type: 4e-6 in float32. Kernels that sum in another order
# differ by about ten units; an equation that does not hold, by a thousand times more.
_LARGEST_ERROR = 32


class Refuted(Exception):  # noqa: N818
    """An equation that does not hold, or that cannot be computed, with the reason."""


@dataclass
class BlockProof:
    """What the proof says of one block.

    Attributes:
        claim: The block, with the networks and sites that hold alone.
        errors: Equation -> by how much its sides differ, relatively; the largest where it was asked twice.
        refused: Kind -> why it is refused.
        experts: What was proved of its experts.
    """

    claim: BlockClaim
    errors: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    experts: list[ProvedExperts] = field(default_factory=list)

    def check(self, equation: str, found: Tensor, expected: Tensor) -> None:
        """Note by how much two sides of an equation differ.

        Raises:
            Refuted: By more than rounding.
        """
        if found.shape != expected.shape:
            raise Refuted(f"{equation}: the shapes {tuple(found.shape)} and {tuple(expected.shape)} differ")
        error = _error(found, expected)
        if not error <= _allowed(expected):
            raise Refuted(f"{equation} is off by {error:.1e}")
        self.errors[equation] = max(error, self.errors.get(equation, 0.0))


@torch.no_grad()
def prove(model: nn.Module, run: Callable[[], Any], stacks: Sequence[StackClaim]) -> list[list[BlockProof]]:
    """Test claims in one forward.

    Args:
        model: The model that the claims are of.
        run: Calls it, on other inputs than those that the claims come from.
        stacks: The claims.

    Returns:
        For each stack, what the proof says of its blocks.
    """
    reader = _Reader(model, stacks)
    modules = list(model.modules())
    try:
        reader.hook()
        run()
    finally:
        remove_hooks(modules, lambda hook: hook.owner is reader)
        for module in modules:
            drop_shadows(module, "forward", reader)
    return [[reader.proof(block) for block in stack.blocks] for stack in stacks]


@dataclass
class _Taken:
    """What the modules of one block were given and gave, in one call of it."""

    start: Tensor
    given: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    made: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    experts: dict[str, list[Recorded]] = field(default_factory=lambda: defaultdict(list))
    mixing: set[str] = field(default_factory=set)

    def at(self, spot: Spot) -> Tensor:
        """Return the tensor at a spot, all of its columns."""
        values = (self.given if spot.side == "input" else self.made)[spot.path]
        if len(values) != spot.calls:
            raise Refuted(f"{spot.path} ran {len(values)} times in one call of its block")
        return values[spot.call]

    def columns_at(self, spot: Spot) -> Tensor:
        """Return the columns at a spot that are its own."""
        values = self.at(spot)
        return values if spot.columns is None else values[..., spot.columns]

    def of_norm(self, equation: str, path: str, states: Tensor) -> Tensor:
        """Return what a norm gave, which must have been given these states."""
        errors = [_error(states, given) for given in self.given[path] if given.shape == states.shape]
        if not errors or not min(errors) <= _allowed(states):
            by = f" by {min(errors):.1e}" if errors else ""
            raise Refuted(f"{equation} is off{by} at what {path} is given")
        return self.made[path][errors.index(min(errors))]


def _error(found: Tensor, expected: Tensor) -> float:
    """Return by how much two tensors of one shape differ, relative to the second."""
    difference, size = (found.double() - expected.double()).norm(), expected.double().norm()
    return float(difference / size if size > 0 else difference)


def _allowed(states: Tensor) -> float:
    return _LARGEST_ERROR * torch.finfo(states.dtype).eps


class _Reader:
    """Reads the places of all claims by hooks, and tests each block as soon as it has run."""

    def __init__(self, model: nn.Module, stacks: Sequence[StackClaim]) -> None:
        self.thread, self._model, self._weights = threading.get_ident(), model, weights_of(model)
        self._claims = {(one.path, one.call): one for stack in stacks for one in stack.blocks}
        self._next = {
            (one.path, one.call): (after.path, after.call)
            for stack in stacks
            for one, after in zip(stack.blocks, stack.blocks[1:], strict=False)
        }
        self._proofs: dict[tuple[str, int], BlockProof] = {}
        self._calls: dict[str, int] = defaultdict(int)
        self._ends: dict[tuple[str, int], Tensor] = {}
        self._taken: _Taken | None = None

    def hook(self) -> None:
        """Register the hooks; that on the output of a block comes last, when its parts have run."""
        blocks = {path for path, _ in self._claims}
        for path in sorted({one for claim in self._claims.values() for one in _paths(claim)} - blocks):
            self._hook(path, self._note_input, self._note_output)
        for path in sorted(
            {one for claim in self._claims.values() if claim.stream for one in claim.stream.unseen}
        ):
            hook_input(self._model.get_submodule(path), Hook(self, partial(self._ask, path)))
        for path in sorted(blocks):
            self._hook(path, self._begin, self._end)
        for path in sorted({one.path for claim in self._claims.values() for one in claim.experts}):
            record_experts(self, self._model.get_submodule(path), partial(self._note_experts, path))

    def _note_experts(self, path: str, found: Recorded) -> None:
        if self._taken is not None:
            self._taken.experts[path].append(found)

    def _ask(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Let a module run on other states of every second token, and note whether the others feel it."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        try:
            if mixes(module.forward, args, kwargs, taken.start):
                taken.mixing.add(path)
        finally:
            self._taken = taken

    def _hook(self, path: str, before: Callable[..., None], after: Callable[..., None]) -> None:
        module = self._model.get_submodule(path)

        def on_input(_: nn.Module, args: Any, kwargs: Any) -> None:
            before(path, input_of(args, kwargs))

        def on_output(_: nn.Module, __: Any, output: Any) -> None:
            after(path, output_of(output))

        hook_input(module, Hook(self, on_input))
        hook_output(module, Hook(self, on_output))

    def _note_input(self, path: str, states: Any) -> None:
        if self._taken is not None and isinstance(states, Tensor):
            self._taken.given[path].append(states.clone())

    def _note_output(self, path: str, states: Tensor | None) -> None:
        if self._taken is not None and states is not None:
            self._taken.made[path].append(states.clone())

    def _begin(self, path: str, states: Any) -> None:  # noqa: ARG002
        self._taken = _Taken(states.clone()) if isinstance(states, Tensor) else None

    def _end(self, path: str, states: Tensor | None) -> None:
        key = path, self._calls[path]
        self._calls[path] += 1
        claim, taken, self._taken = self._claims.get(key), self._taken, None
        if claim is None or taken is None or states is None:
            return
        if not bool(torch.isfinite(states).all()):
            raise ValueError(f"what {path} gives is not finite")
        self._ends[key] = states.clone()
        self._proofs[key] = self._test(claim, taken, states)
        before = [one for one, after in self._next.items() if after == key]
        if before and before[0] in self._ends:
            self._test_chain(self._proofs[before[0]], self._ends.pop(before[0]), taken.start)

    def _test(self, claim: BlockClaim, taken: _Taken, states: Tensor) -> BlockProof:
        proof = BlockProof(claim, refused=dict(claim.refused))
        networks = []
        for network in claim.networks:
            try:
                check_network(proof, network, taken, self._weights, self._model)
                networks.append(network)
            except (Refuted, NotReplayable) as reason:
                proof.refused |= dict.fromkeys(("inner", "gate"), str(reason))
        stream = claim.stream
        if stream is not None:
            try:
                added = [taken.columns_at(spot) for spot in stream.added]
                folded = stream.fold(
                    taken.start, *added, weights=self._weights, modules=partial(taken.of_norm, STREAM)
                )
                proof.check(STREAM, folded, states)
                if stream.unseen and not taken.mixing.intersection(stream.unseen):
                    raise Refuted(
                        f"torch does not show what {' and '.join(stream.unseen)} computes, and it is not "
                        "seen to compute with several tokens"
                    )
            except (Refuted, NotReplayable) as reason:
                proof.refused |= dict.fromkeys(("attn_out", "mlp_out"), str(reason))
                stream = None
        proof.claim = replace(claim, networks=tuple(networks), stream=stream)
        self._test_experts(proof, taken)
        return proof

    def _test_experts(self, proof: BlockProof, taken: _Taken) -> None:
        # A block with several streams side by side has them behind the tokens.
        tokens = taken.start.shape[: max(1, min(2, taken.start.dim() - 1))].numel()
        for claim in proof.claim.experts:
            calls = taken.experts[claim.path]
            try:
                if len(calls) != claim.calls:
                    raise Unproved(f"{claim.path} ran {len(calls)} times in one call of its block")
                module = self._model.get_submodule(claim.path)
                proof.experts.append(check_experts(proof.check, claim, module, calls[claim.call], tokens))
            except (Refuted, Unproved, ModelError, RuntimeError) as reason:
                proof.refused |= dict.fromkeys(EXPERT_KINDS, f"{reason!s:.300}")

    def _test_chain(self, before: BlockProof, end: Tensor, start: Tensor) -> None:
        # In some models something is added to the stream between two blocks: then that of each must hold.
        with contextlib.suppress(Refuted):
            before.check(CHAIN, end, start)

    def proof(self, claim: BlockClaim) -> BlockProof:
        """Return what the proof says of a block; one that did not run is refused whole."""
        key = claim.path, claim.call
        found = self._proofs.get(key)
        if found is not None:
            before = [one for one, after in self._next.items() if after == key]
            neighbours = [self._proofs[one] for one in before if one in self._proofs]
            is_chained = CHAIN in found.errors or (
                key not in self._next and any(CHAIN in one.errors for one in neighbours)
            )
            if not is_chained and STREAM not in found.errors:
                found.refused.setdefault("hidden", f"neither {STREAM!r} nor {CHAIN!r} holds")
            return found
        kinds = ("hidden", "gate", "inner", "attn_out", "mlp_out", *EXPERT_KINDS)
        reason = f"{claim.path} did not run in the second forward"
        empty = replace(claim, hidden=None, networks=(), stream=None, experts=())
        return BlockProof(empty, refused=dict.fromkeys(kinds, reason))


def check_network(
    proof: BlockProof, network: NetworkClaim, taken: _Taken, weights: Weights, model: nn.Module
) -> None:
    """Test the equations of one network: what its neurons are, and what its down projection makes of them.

    Raises:
        Refuted: One of them does not hold.
        NotReplayable: One of them cannot be computed.
    """
    inner, down = taken.at(network.inner), taken.at(network.down)
    others = [taken.columns_at(spot) for spot in network.others]
    if network.gate is not None:
        gate = taken.columns_at(network.gate)
        acted = gate if network.activation is None else network.activation(gate, weights=weights)
        others = [acted, *others]
    found = network.combine(*others, weights=weights, modules=partial(taken.of_norm, NEURONS))
    if found.numel() == inner.numel():
        found = found.reshape(inner.shape)
    proof.check(NEURONS, found, inner)
    try:
        product = projected(model.get_submodule(network.down.path), inner)
    except RuntimeError as error:
        raise Refuted(f"{DOWN}: {error!s:.120}") from error
    if product is not None:
        proof.check(DOWN, product, down)


def _paths(claim: BlockClaim) -> Iterator[str]:
    """Yield the modules that the equations of a block are computed from."""
    for network in claim.networks:
        yield from (network.inner.path, network.down.path, *(spot.path for spot in network.others))
        yield from network.combine.norms
        if network.gate is not None:
            yield network.gate.path
    if claim.stream is not None:
        yield from (spot.path for spot in claim.stream.added)
        yield from claim.stream.fold.norms
