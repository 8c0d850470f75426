"""`check_layout`: hold what a layout says against the equations that a map is proved by."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.claims import BlockClaim, NetworkClaim, Spot, StreamClaim
from xalign.model.architectures.places import BlockPlaces, Place, StackPlaces
from xalign.model.architectures.proof import BlockProof
from xalign.model.architectures.proved import NotRun, proofs_of, proved_stacks
from xalign.model.architectures.same_flow import flow_of
from xalign.model.architectures.table import Layout


class _Refuted(NamedTuple):
    block: int
    kind: str
    reason: str
    found: str


_PASSED: "WeakKeyDictionary[nn.Module, tuple[Layout, Hashable]]" = WeakKeyDictionary()


def check_layout(model: nn.Module, model_type: str, layout: Layout, said: StackPlaces) -> None:
    """Check what a layout says of a model's places.

    It is checked where a trace shows what to compute: a model that xalign cannot run, and a block in which it
    finds no network, are taken as the layout says.

    Args:
        model: The model.
        model_type: The architecture's name.
        layout: The layout.
        said: The places that it names.

    Raises:
        ModelError: An equation does not hold, with the equation and by how much.
    """
    known, flow = _PASSED.get(model), flow_of(model)
    if known is not None and known[0] is layout and known[1] == flow:
        return
    try:
        refuted = next(_refuted(model, said), None)
    except NotRun:
        refuted = None
    if refuted is not None:
        raise ModelError(
            f"the layout of {model_type} is refuted at block {refuted.block}, {refuted.kind}: "
            f"{refuted.reason}. A trace finds it at {refuted.found}; mend that part of the layout, or "
            "register none: xalign maps most models without"
        )
    _PASSED[model] = layout, flow


def _refuted(model: nn.Module, said: StackPlaces) -> Iterator[_Refuted]:
    path = said.blocks[0].path.rpartition(".")[0]
    proved = next((one for one in proved_stacks(model) if one.claim.path == path), None)
    if proved is None or len(proved.blocks) != len(said.blocks):
        return
    claims = tuple(
        _said(proof.claim, places) for proof, places in zip(proved.blocks, said.blocks, strict=True)
    )
    ((*proofs,),) = proofs_of(model, [replace(proved.claim, blocks=claims)])
    for number, (before, after) in enumerate(zip(proved.blocks, proofs, strict=True)):
        for kind, reason in after.refused.items():
            if kind not in before.refused:
                yield _Refuted(number, kind, reason, _found(before, kind))


def _found(proof: BlockProof, kind: str) -> str:
    claim = proof.claim
    networks, stream = claim.networks, claim.stream
    spots: dict[str, Sequence[Spot | None]] = {
        "hidden": [claim.hidden],
        "inner": [one.inner for one in networks],
        "gate": [one.gate for one in networks],
        "attn_out": [] if stream is None else stream.attn_out,
        "mlp_out": [] if stream is None else stream.mlp_out,
    }
    return ", ".join(f"{spot.side} of {spot.path}" for spot in spots[kind] if spot is not None) or "no module"


def _said(claim: BlockClaim, places: BlockPlaces) -> BlockClaim:
    """Return a claim with the places of a layout in place of those that were found."""
    networks = tuple(_network(one, places) for one in claim.networks[:1])
    return replace(claim, networks=networks, stream=_stream(claim.stream, places))


def _network(network: NetworkClaim, places: BlockPlaces) -> NetworkClaim:
    gate, inner = places.places.get("gate"), places.places.get("inner")
    if not gate or not inner:
        return network
    down = replace(network.down, path=inner[0].path)
    return replace(network, gate=_spot(gate[0]), inner=_spot(inner[0]), down=down)


def _stream(stream: StreamClaim | None, places: BlockPlaces) -> StreamClaim | None:
    attn_out, mlp_out = (tuple(map(_spot, places.places.get(kind, ()))) for kind in ("attn_out", "mlp_out"))
    if stream is None or (len(stream.attn_out), len(stream.mlp_out)) != (len(attn_out), len(mlp_out)):
        return stream
    return replace(stream, attn_out=attn_out, mlp_out=mlp_out)


def _spot(place: Place) -> Spot:
    return Spot(place.path, place.side, place.width, place.axes, place.columns)
