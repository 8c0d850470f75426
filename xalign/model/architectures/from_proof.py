"""`stack_of_proof`: the places of a model as they were proved."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from xalign.model.architectures.claims import NetworkClaim, Spot
from xalign.model.architectures.expert_gate import activated
from xalign.model.architectures.expert_proof import ProvedExperts
from xalign.model.architectures.places import Activation, BlockPlaces, Place, StackPlaces
from xalign.model.architectures.program import Program
from xalign.model.architectures.proof import BlockProof
from xalign.model.architectures.proved import ProvedStack
from xalign.model.architectures.resident import weights_of
from xalign.model.architectures.table import Layout


def stack_of_proof(model: nn.Module, stack: ProvedStack, name: str) -> StackPlaces | None:
    """Return the places of a stack in a model; None where nothing of it could be proved.

    Args:
        model: The model, of the kind that the stack was proved of.
        stack: The stack.
        name: What sites call it.
    """
    times: Counter[str] = Counter()
    before: list[Counter[str]] = []
    for one in stack.blocks:
        before.append(Counter(times))
        times.update(_calls_in(one))
    blocks = tuple(
        _block(model, block, earlier, times) for block, earlier in zip(stack.blocks, before, strict=True)
    )
    if not any(places for block in blocks for places in block.places.values()):
        return None
    has_hidden = all(block.places["hidden"] for block in blocks)
    first, last = blocks[0], blocks[-1]
    downs = [network.down.width for block in stack.blocks for network in block.claim.networks]
    if has_hidden:
        embed = replace(first.places["hidden"][0], side="input", call=0)
        final = stack.claim.final
        is_last = final is None or final.path == last.path
        after = last.places["hidden"][0] if is_last or final is None else _place(model, final)
    else:
        embed = after = Place(first.module, first.path, "input", downs[0] if downs else 0)
    return StackPlaces(name, blocks, embed, after, embed.width, has_hidden)


def _place(
    model: nn.Module,
    spot: Spot,
    before: Mapping[str, int] | None = None,
    times: Mapping[str, int] | None = None,
) -> Place:
    module = model.get_submodule(spot.path)
    number = spot.call + (before or {}).get(spot.path, 0)
    calls = (times or {}).get(spot.path, spot.calls)
    return Place(module, spot.path, spot.side, spot.width, spot.columns, spot.axes, number, calls)


def _calls_in(proof: BlockProof) -> dict[str, int]:
    """Return how often each module with a site is called in one call of a block."""
    of_experts = {one.claim.path: one.claim.calls for one in proof.experts}
    return of_experts | {spot.path: spot.calls for spots in _spots(proof).values() for spot in spots}


def _block(
    model: nn.Module, proof: BlockProof, before: Mapping[str, int], times: Mapping[str, int]
) -> BlockPlaces:
    claim = proof.claim
    stream = claim.stream
    places = {
        kind: tuple(_place(model, spot, before, times) for spot in found)
        for kind, found in _spots(proof).items()
    }
    for experts in proof.experts:
        for kind, place in _expert_places(model, experts, before, times).items():
            places[kind] = (*places.get(kind, ()), place)
    activations = tuple(_activation(model, network) for network in claim.networks if network.gate is not None)
    notes = ", ".join(
        f"{equation} {'to the bit' if error == 0 else f'to {error:.0e}'}"
        for equation, error in proof.errors.items()
    )
    return BlockPlaces(
        model.get_submodule(claim.path),
        claim.path,
        places,
        activations,
        proof.refused,
        notes,
        {} if stream is None else stream.factors,
        () if stream is None else tuple(spot.path for spot in stream.others),
        tuple(_activation_of_experts(model, found) for found in proof.experts),
    )


def _expert_places(
    model: nn.Module, found: ProvedExperts, before: Mapping[str, int], times: Mapping[str, int]
) -> dict[str, Place]:
    """Return the places of one module of experts."""
    claim = found.claim
    module, width = model.get_submodule(claim.path), claim.count * claim.width
    number, calls = claim.call + before.get(claim.path, 0), times[claim.path]

    def place(width: int, columns: slice | None = None) -> Place:
        return Place(
            module, claim.path, "input", width, columns, "rows", number, calls, experts=found.experts
        )

    return {
        "expert_gate": place(width, found.experts.gate),
        "expert_inner": place(width),
        "router": place(claim.count),
    }


def _activation_of_experts(model: nn.Module, found: ProvedExperts) -> Activation | None:
    module = model.get_submodule(found.claim.path)
    act = cast(Any, getattr(module, "act_fn", None))
    if found.experts.gate is None:
        return Activation(act, act if isinstance(act, nn.Module) else None, type(act).__name__)
    if not found.is_activated:
        return None
    name = type(act).__name__ if isinstance(act, nn.Module) else "_apply_gate"
    return Activation(partial(activated, module, found.experts.gate), None, name)


def _spots(proof: BlockProof) -> dict[str, list[Spot]]:
    claim = proof.claim
    stream = claim.stream
    return {
        "hidden": [] if claim.hidden is None or "hidden" in proof.refused else [claim.hidden],
        "gate": [network.gate for network in claim.networks if network.gate is not None],
        "inner": [network.inner for network in claim.networks],
        "attn_out": [] if stream is None else list(stream.attn_out),
        "mlp_out": [] if stream is None else list(stream.mlp_out),
    }


def _activation(model: nn.Module, network: NetworkClaim) -> Activation | None:
    if network.activation is None:
        return None
    if network.activation_path:
        module = model.get_submodule(network.activation_path)
        return Activation(module, module, type(module).__name__)
    name = " · ".join(dict.fromkeys(network.activation.operations))
    return Activation(partial(_run, network.activation, model), None, name)


def _run(program: Program, model: nn.Module, values: Tensor) -> Tensor:
    return program(values, weights=weights_of(model), casts=False).reshape(values.shape).to(values.dtype)


def layout_of(stack: StackPlaces, prefix: str, list_path: str) -> Layout:
    """Return the layout that says where the first block with a feed-forward network has its places.

    Args:
        stack: The stack.
        prefix: The path of the module that the layout's paths start at.
        list_path: The path of the list of blocks.
    """
    block = next((one for one in stack.blocks if one.places["gate"]), stack.blocks[0])

    def inside(kind: str) -> str:
        found = block.places[kind]
        return found[0].path.removeprefix(f"{block.path}.") if found else ""

    gate = block.places["gate"]
    acts = [one.module for one in block.activations if one is not None and one.module is not None]
    act = next((path for path, one in block.module.named_modules() if acts and one is acts[0]), "")
    return Layout(
        blocks=list_path.removeprefix(f"{prefix}.") if prefix else list_path,
        gate=inside("gate"),
        act=act,
        down=inside("inner"),
        attn_out=inside("attn_out"),
        mlp_out=inside("mlp_out"),
        final=(stack.final.path.removeprefix(f"{prefix}.") if prefix else stack.final.path,),
        fused=bool(gate and gate[0].columns is not None),
        flattened=any(place.axes == "rows" for place in block.places["inner"]),
    )
